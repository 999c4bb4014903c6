-- Makes a replacement the graph. KEYS[1] is the graph's head, ARGV[3] the token, ARGV[4] the ttl in ms, ARGV[5] the
-- position.
local token, ttl_ms = ARGV[3], tonumber(ARGV[4])
local old = redis.call('HGET', head, 'generation')
if old == token then
    return {'ok', revision()} -- an earlier call put it in place, and its answer was lost
end
local staged = tag .. ':' .. token .. ':head'
local holder = redis.call('GET', tag .. ':writing')
if redis.call('EXISTS', staged) == 0 or (holder and holder ~= token) then
    return {'lost'}
end
if old then
    redis.call('SADD', tag .. ':garbage', old)
else
    redis.call('HSET', head, 'identity', fresh, 'revision', 0)
end
local counts = redis.call('HMGET', staged, 'nodes', 'edges')
redis.call('HSET', head, 'generation', token, 'nodes', counts[1], 'edges', counts[2], 'position', ARGV[5])
redis.call('SREM', tag .. ':garbage', token)
redis.call('DEL', staged, tag .. ':writing')
if ttl_ms > 0 then
    redis.call('PEXPIRE', head, ttl_ms)
else
    redis.call('PERSIST', head)
end
return moved(0, 0)
