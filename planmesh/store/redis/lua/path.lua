-- A cheapest path by Dijkstra's search from both ends. ARGV[3] is the start, ARGV[4] the goal, ARGV[5] the time limit
-- in ms, ARGV[6] the most nodes to settle (Redis answers no other client meanwhile), ARGV[7] the greatest cost of an
-- edge.
local start, goal, time_ms_max, settled_max = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local cost_max = tonumber(ARGV[7])

-- Nodes and edges processed between two checks of the time: some milliseconds, even for nodes with many edges.
local LOOKS_PER_CLOCK = 4096

local prefix = present()
for _, id in ipairs({start, goal}) do
    if not prefix or not has_node(prefix, id) then
        return {'unknown', id}
    end
end
if start == goal then
    return {'ok', start}
end

local function now_ms()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
end

-- A binary heap of {distance, id}.
local function push(heap, far, id)
    local place = #heap + 1
    while place > 1 do
        local above = math.floor(place / 2)
        if heap[above][1] <= far then
            break
        end
        heap[place] = heap[above]
        place = above
    end
    heap[place] = {far, id}
end

local function pop(heap)
    local top, last = heap[1], table.remove(heap)
    local size = #heap
    if size > 0 then
        local place = 1
        while true do
            local below = place * 2
            if below > size then
                break
            end
            if below < size and heap[below + 1][1] < heap[below][1] then
                below = below + 1
            end
            if heap[below][1] >= last[1] then
                break
            end
            heap[place] = heap[below]
            place = below
        end
        heap[place] = last
    end
    return top
end

local function side(origin)
    return {distance = {[origin] = 0}, parent = {}, cost = {}, heap = {{0, origin}}, done = {}}
end

local ahead, back = side(start), side(goal)
local best, middle = math.huge, false
local began_ms, settled, looks = now_ms(), 0, 0
local bad = false

local function reach(own, other, node, far, id, cost)
    local number = tonumber(cost)
    if not (number and number >= 0 and number <= cost_max) then
        bad = {node, id, cost or ''}
        return
    end
    local total = far + number
    local known = own.distance[id]
    if not known or total < known then
        own.distance[id], own.parent[id], own.cost[id] = total, node, cost
        push(own.heap, total, id)
        local beyond = other.distance[id]
        if beyond and total + beyond < best then
            best, middle = total + beyond, id
        end
    end
end

while #ahead.heap > 0 and #back.heap > 0 and ahead.heap[1][1] + back.heap[1][1] < best do
    local forward = ahead.heap[1][1] <= back.heap[1][1]
    local own, other = ahead, back
    if not forward then
        own, other = back, ahead
    end
    local top = pop(own.heap)
    local far, node = top[1], top[2]
    if not own.done[node] then
        own.done[node] = true
        settled = settled + 1
        if settled > settled_max then
            return {'many'}
        end
        looks = looks + 1
        if forward then
            local row = redis.call('HGETALL', prefix .. 'o:' .. node)
            for i = 1, #row, 2 do
                reach(own, other, node, far, row[i], row[i + 1])
            end
            looks = looks + #row / 2
        else
            local sources = redis.call('SMEMBERS', prefix .. 'i:' .. node)
            for _, source in ipairs(sources) do
                reach(own, other, node, far, source, redis.call('HGET', prefix .. 'o:' .. source, node))
            end
            looks = looks + #sources
        end
        if bad then
            return {'bad', forward and bad[1] or bad[2], forward and bad[2] or bad[1], bad[3]}
        end
        if looks >= LOOKS_PER_CLOCK then
            looks = 0
            if now_ms() - began_ms > time_ms_max then
                return {'late'}
            end
        end
    end
end
if not middle then
    return {'none'}
end
local first = {}
local node = middle
while ahead.parent[node] do
    first[#first + 1] = node
    first[#first + 1] = ahead.cost[node]
    node = ahead.parent[node]
end
local found = {'ok', start}
for i = #first, 1, -2 do
    found[#found + 1] = first[i]
    found[#found + 1] = first[i - 1]
end
node = middle
while back.parent[node] do
    found[#found + 1] = back.cost[node]
    node = back.parent[node]
    found[#found + 1] = node
end
return found
