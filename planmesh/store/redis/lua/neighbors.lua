-- ARGV[3] is the id, ARGV[4] the depth, ARGV[5] 'out', 'in' or 'both', ARGV[6] the most neighbours to return.
local start, depth, direction, most = ARGV[3], tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
local prefix = present()
if not prefix or not has_node(prefix, start) then
    return {'unknown', start}
end
local seen = {[start] = true}
local found, size = {'ok'}, 1
local frontier = {start}
for hop = 1, depth do
    local reached = {}
    local function visit(ids)
        for _, id in ipairs(ids) do
            if not seen[id] then
                seen[id] = true
                reached[#reached + 1] = id
                found[size + 1], found[size + 2] = id, hop
                size = size + 2
            end
        end
    end
    for _, id in ipairs(frontier) do
        if direction ~= 'in' then
            visit(redis.call('HKEYS', prefix .. 'o:' .. id))
        end
        if direction ~= 'out' then
            visit(redis.call('SMEMBERS', prefix .. 'i:' .. id))
        end
        if (size - 1) / 2 > most then
            return {'many'}
        end
    end
    frontier = reached
end
return found
