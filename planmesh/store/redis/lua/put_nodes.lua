-- ARGV[3] is the lease or '', ARGV[4] the ttl in ms; then id and labels of each node.
local token = ARGV[3]
if token ~= '' and not leased(token) then
    return {'lost'}
end
local prefix = begun()
local lasting_ms = lasting(tonumber(ARGV[4]))
local added = 0
for i = 5, #ARGV, 2 do
    added = added + put_node(prefix, ARGV[i], ARGV[i + 1], lasting_ms)
end
return moved(added, 0)
