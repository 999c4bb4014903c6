-- Withdraws the announcement of a write: ARGV[3] is its token, ARGV[4] the revision that it produced, or ''.
local head, tag, fresh = KEYS[1], ARGV[1], ARGV[2]
redis.call('HSET', head, 'version', fresh)
if ARGV[4] ~= '' then
    redis.call('HSET', head, 'revision', ARGV[4])
end
redis.call('ZREM', tag .. ':pending', ARGV[3])
return {'ok'}
