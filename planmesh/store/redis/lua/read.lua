-- ARGV[3] is the generation to read, ARGV[4] 'nodes' or 'edges', ARGV[5] and ARGV[6] the first and last bucket.
-- Returns the id and labels of each node; or each source, its number of edges, and the target and cost of each edge.
if redis.call('HGET', head, 'generation') ~= ARGV[3] then
    return {'gone'}
end
local prefix = prefix_of(ARGV[3])
local edges = ARGV[4] == 'edges'
local found = {'ok'}
local size = 1
for number = tonumber(ARGV[5]), tonumber(ARGV[6]) do
    local key = prefix .. 'n:' .. number
    for _, value in ipairs(redis.call(edges and 'HKEYS' or 'HGETALL', key)) do
        if edges then
            local row = redis.call('HGETALL', prefix .. 'o:' .. value)
            if #row > 0 then
                found[size + 1], found[size + 2] = value, #row / 2
                size = size + 2
                for i = 1, #row do
                    found[size + i] = row[i]
                end
                size = size + #row
            end
        else
            size = size + 1
            found[size] = value
        end
    end
end
return found
