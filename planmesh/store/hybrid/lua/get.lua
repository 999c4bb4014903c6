-- KEYS[1] is the hash of version and revision, ARGV[1] the tag, ARGV[2] a random text, ARGV[3] the pair.
-- Returns the version, and the pair's answer under it.
local head, tag, fresh = KEYS[1], ARGV[1], ARGV[2]
redis.call('HSETNX', head, 'version', fresh)
local version = redis.call('HGET', head, 'version')
local answer = redis.call('GET', tag .. ':answer:' .. version .. ':' .. ARGV[3])
return {'ok', version, answer or ''}
