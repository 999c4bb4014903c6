-- Compares the revision of the back, ARGV[3], with the last one seen; a different one makes a new version.
local head, fresh = KEYS[1], ARGV[2]
if redis.call('HGET', head, 'revision') ~= ARGV[3] then
    redis.call('HSET', head, 'revision', ARGV[3], 'version', fresh)
    return {'moved'}
end
return {'ok'}
