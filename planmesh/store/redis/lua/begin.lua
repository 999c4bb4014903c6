-- Begins a replacement whose head is KEYS[1]. ARGV[3] is the token of its lease and its generation.
local token = ARGV[3]
local lease = tag .. ':writing'
local holder = redis.call('GET', lease)
if holder and holder ~= token then
    return {'taken'}
end
redis.call('SET', lease, token, 'PX', LEASE_MS)
redis.call('SADD', tag .. ':garbage', token)
redis.call('HSET', head, 'identity', token, 'generation', token, 'revision', 0, 'nodes', 0, 'edges', 0)
return {'ok'}
