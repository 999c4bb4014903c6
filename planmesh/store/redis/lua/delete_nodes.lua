-- ARGV[3] and the following are ids.
local prefix = begun()
local nodes, edges = 0, 0
for i = 3, #ARGV do
    local removed, with_it = remove_node(prefix, ARGV[i])
    nodes, edges = nodes + removed, edges + with_it
end
return moved(-nodes, -edges)
