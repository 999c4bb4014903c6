-- Applies a batch of changes unless it was applied before, and records its version as the position. ARGV[3] is the
-- version; ARGV[4] to ARGV[6] are the numbers of nodes to remove, of nodes to write and of edges to remove. Their rows
-- follow in this order, and then the edges to write: an id; id and labels; source and target; source, target and cost.
local version = tonumber(ARGV[3])
if version <= position() then
    return {'known'}
end
local first_node = 7 + tonumber(ARGV[4])
local first_gone = first_node + 2 * tonumber(ARGV[5])
local first_edge = first_gone + 2 * tonumber(ARGV[6])

-- What the script has written when it stops would stay, so all ends are checked before it writes.
local prefix = present()
local known = {}
for i = 7, first_node - 1 do
    known[ARGV[i]] = false
end
for i = first_node, first_gone - 1, 2 do
    known[ARGV[i]] = true
end
for i = first_edge, #ARGV, 3 do
    for j = i, i + 1 do
        local id = ARGV[j]
        if known[id] == nil then
            known[id] = prefix and has_node(prefix, id)
        end
        if not known[id] then
            return {'unknown', id}
        end
    end
end

prefix = begun()
local lasting_ms = lasting(0)
local nodes, edges = 0, 0
for i = 7, first_node - 1 do
    local removed, with_it = remove_node(prefix, ARGV[i])
    nodes, edges = nodes - removed, edges - with_it
end
for i = first_node, first_gone - 1, 2 do
    nodes = nodes + put_node(prefix, ARGV[i], ARGV[i + 1], lasting_ms)
end
for i = first_gone, first_edge - 1, 2 do
    edges = edges - remove_edge(prefix, ARGV[i], ARGV[i + 1])
end
for i = first_edge, #ARGV, 3 do
    edges = edges + put_edge(prefix, ARGV[i], ARGV[i + 1], ARGV[i + 2], lasting_ms)
end
redis.call('HSET', head, 'position', ARGV[3])
return moved(nodes, edges)
