-- Stores an answer: ARGV[3] is the pair, ARGV[4] the version under which it was requested, ARGV[5] the answer, ARGV[6]
-- its time to live in ms.
local head, tag = KEYS[1], ARGV[1]
local pending = tag .. ':pending'
local time = redis.call('TIME')
redis.call('ZREMRANGEBYSCORE', pending, '-inf', time[1] * 1000 + math.floor(time[2] / 1000))
if redis.call('HGET', head, 'version') ~= ARGV[4] or redis.call('ZCARD', pending) > 0 then
    return {'stale'}
end
redis.call('SET', tag .. ':answer:' .. ARGV[4] .. ':' .. ARGV[3], ARGV[5], 'PX', ARGV[6])
return {'ok'}
