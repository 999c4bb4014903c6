-- ARGV[3] is the lease or '', ARGV[4] the ttl in ms, ARGV[5] 'set' or 'cheapest'; then source, target and cost of each
-- edge.
local token, cheapest = ARGV[3], ARGV[5] == 'cheapest'
if token ~= '' and not leased(token) then
    return {'lost'}
end
local prefix = begun()
local known = {}
for i = 6, #ARGV, 3 do
    for j = i, i + 1 do
        local id = ARGV[j]
        if not known[id] then
            if not has_node(prefix, id) then
                return {'unknown', id}
            end
            known[id] = true
        end
    end
end
local lasting_ms = lasting(tonumber(ARGV[4]))
local added = 0
for i = 6, #ARGV, 3 do
    local source, target, cost = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local old = cheapest and redis.call('HGET', prefix .. 'o:' .. source, target)
    if not old or tonumber(cost) < tonumber(old) then
        added = added + put_edge(prefix, source, target, cost, lasting_ms)
    end
end
return moved(0, added)
