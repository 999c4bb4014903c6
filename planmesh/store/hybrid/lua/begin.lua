-- Announces a write, or extends its announcement: ARGV[3] is its token, ARGV[4] the duration in ms.
local head, tag, fresh = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
redis.call('HSET', head, 'version', fresh)
redis.call('ZADD', tag .. ':pending', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4], ARGV[3])
return {'ok'}
