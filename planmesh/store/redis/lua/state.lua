-- Returns identity-revision, nodes, edges, generation and position.
local found = redis.call('HMGET', head, 'identity', 'revision', 'nodes', 'edges', 'generation')
if not found[5] then
    return {'empty'}
end
return {'ok', revision(), tonumber(found[3]), tonumber(found[4]), found[5], position()}
