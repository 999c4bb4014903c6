-- ARGV[3] and the following are ids.
local prefix = begun()
local nodes, edges = 0, 0
for i = 3, #ARGV do
    local id = ARGV[i]
    if redis.call('HDEL', bucket(prefix, id), id) == 1 then
        nodes = nodes + 1
        local out, into = prefix .. 'o:' .. id, prefix .. 'i:' .. id
        for _, target in ipairs(redis.call('HKEYS', out)) do
            redis.call('SREM', prefix .. 'i:' .. target, id)
            edges = edges + 1
        end
        redis.call('UNLINK', out)
        for _, source in ipairs(redis.call('SMEMBERS', into)) do
            edges = edges + redis.call('HDEL', prefix .. 'o:' .. source, id)
        end
        redis.call('UNLINK', into)
    end
end
return moved(-nodes, -edges)
