-- Returns generations that are neither the graph nor being written under a lease, each with its remaining number of
-- nodes. Deletes their heads, so that no client writes to them.
local found = {'ok'}
local writing = redis.call('GET', tag .. ':writing')
for _, generation in ipairs(redis.call('SMEMBERS', tag .. ':garbage')) do
    if generation ~= writing and generation ~= redis.call('HGET', head, 'generation') then
        local prefix = prefix_of(generation)
        redis.call('DEL', prefix .. 'head')
        local nodes = 0
        for number = 0, BUCKETS - 1 do
            nodes = nodes + redis.call('HLEN', prefix .. 'n:' .. number)
        end
        found[#found + 1], found[#found + 2] = generation, nodes
    end
end
return found
