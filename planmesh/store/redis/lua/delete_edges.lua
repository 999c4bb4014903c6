-- ARGV[3] and the following are the source and target of each edge.
local prefix = begun()
local edges = 0
for i = 3, #ARGV, 2 do
    edges = edges + remove_edge(prefix, ARGV[i], ARGV[i + 1])
end
return moved(0, -edges)
