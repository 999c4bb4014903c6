-- ARGV[3] and the following are the source and target of each edge.
local prefix = begun()
local edges = 0
for i = 3, #ARGV, 2 do
    if redis.call('HDEL', prefix .. 'o:' .. ARGV[i], ARGV[i + 1]) == 1 then
        redis.call('SREM', prefix .. 'i:' .. ARGV[i + 1], ARGV[i])
        edges = edges + 1
    end
end
return moved(0, -edges)
