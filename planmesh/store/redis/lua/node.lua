-- ARGV[3] is the id.
local prefix = present()
local labels = prefix and redis.call('HGET', bucket(prefix, ARGV[3]), ARGV[3])
if not labels then
    return {'unknown', ARGV[3]}
end
return {'ok', labels}
