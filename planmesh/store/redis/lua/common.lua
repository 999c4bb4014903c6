-- The beginning of every script. KEYS[1] is the head of the graph (or of a replacement that is being written): a hash
-- of identity, revision, generation, nodes and edges. All other keys begin with the same {hash tag}, so they are in its
-- slot. ARGV[1] is the tag, ARGV[2] a random text for the identity of a new graph.
local head, tag, fresh = KEYS[1], ARGV[1], ARGV[2]

-- Buckets of nodes. It must equal BUCKETS of planmesh.store.redis.scripts, or nodes in the others would never be read.
local BUCKETS = 1024

-- Time, without a sign of life, after which a replacement no longer blocks others.
local LEASE_MS = 60000

-- Time by which rows outlast the head of a graph with a time to live: see WRITING_S_MAX of
-- planmesh.store.redis.replacement.
local OUTLAST_MS = 3600000

local function bucket(prefix, id)
    return prefix .. 'n:' .. tonumber(string.sub(redis.sha1hex(id), 1, 3), 16) % BUCKETS
end

local function prefix_of(generation)
    return tag .. ':' .. generation .. ':'
end

-- The prefix of the current rows, false when there is no graph.
local function present()
    local generation = redis.call('HGET', head, 'generation')
    return generation and prefix_of(generation)
end

-- The prefix of the current rows; creates the graph if it does not exist.
local function begun()
    local prefix = present()
    if prefix then
        return prefix
    end
    redis.call('HSET', head, 'identity', fresh, 'generation', fresh, 'revision', 0, 'nodes', 0, 'edges', 0)
    return prefix_of(fresh)
end

-- Time to live of new rows in ms, 0 for ever. It is longer than the head's, so that a graph never expires in part.
local function lasting(ttl_ms)
    if ttl_ms > 0 then
        return ttl_ms + OUTLAST_MS
    end
    local left = redis.call('PTTL', head)
    return left > 0 and left + OUTLAST_MS or 0
end

local function expire(key, lasting_ms)
    if lasting_ms > 0 then
        redis.call('PEXPIRE', key, lasting_ms)
    end
end

local function revision()
    return redis.call('HGET', head, 'identity') .. '-' .. redis.call('HGET', head, 'revision')
end

local function moved(nodes, edges)
    redis.call('HINCRBY', head, 'nodes', nodes)
    redis.call('HINCRBY', head, 'edges', edges)
    redis.call('HINCRBY', head, 'revision', 1)
    return {'ok', revision()}
end

-- The version of the last batch of changes, 0 if there was none.
local function position()
    return tonumber(redis.call('HGET', head, 'position') or 0)
end

local function has_node(prefix, id)
    return redis.call('HEXISTS', bucket(prefix, id), id) == 1
end

-- Adds a node or sets its labels. Returns 1 for a new node, 0 for a known one.
local function put_node(prefix, id, labels, lasting_ms)
    local key = bucket(prefix, id)
    local added = redis.call('HSET', key, id, labels)
    expire(key, lasting_ms)
    return added
end

-- Adds an edge between two nodes that exist, or sets its cost. Returns 1 for a new edge, 0 for a known one.
local function put_edge(prefix, source, target, cost, lasting_ms)
    local out = prefix .. 'o:' .. source
    local added = redis.call('HSET', out, target, cost)
    expire(out, lasting_ms)
    if added == 1 then
        local into = prefix .. 'i:' .. target
        redis.call('SADD', into, source)
        expire(into, lasting_ms)
    end
    return added
end

-- Removes a node with its edges. Returns the numbers of nodes and of edges that it removed.
local function remove_node(prefix, id)
    if redis.call('HDEL', bucket(prefix, id), id) == 0 then
        return 0, 0
    end
    local edges = 0
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
    return 1, edges
end

-- Removes an edge. Returns the number of edges that it removed.
local function remove_edge(prefix, source, target)
    local removed = redis.call('HDEL', prefix .. 'o:' .. source, target)
    if removed == 1 then
        redis.call('SREM', prefix .. 'i:' .. target, source)
    end
    return removed
end

-- For a replacement that is being written: ARGV[3] is the token of its lease. Returns whether the lease is still ours.
local function leased(token)
    local lease = tag .. ':writing'
    local holder = redis.call('GET', lease)
    if holder and holder ~= token then
        return false
    end
    redis.call('SET', lease, token, 'PX', LEASE_MS)
    return redis.call('EXISTS', head) == 1
end
