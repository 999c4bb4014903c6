-- Takes the announcement of a write back: ARGV[3] its token.
local head, tag, fresh = KEYS[1], ARGV[1], ARGV[2]
redis.call('HSET', head, 'version', fresh)
redis.call('ZREM', tag .. ':pending', ARGV[3])
return {'ok'}
