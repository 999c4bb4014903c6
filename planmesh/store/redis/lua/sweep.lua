-- Removes the rows of some buckets of a generation: ARGV[3] is the generation, ARGV[4] and ARGV[5] the first and last
-- bucket. After the last bucket, the generation itself is removed.
local prefix = prefix_of(ARGV[3])
local removed = 0
for number = tonumber(ARGV[4]), tonumber(ARGV[5]) do
    local key = prefix .. 'n:' .. number
    for _, id in ipairs(redis.call('HKEYS', key)) do
        redis.call('UNLINK', prefix .. 'o:' .. id, prefix .. 'i:' .. id)
        removed = removed + 1
    end
    redis.call('UNLINK', key)
end
if tonumber(ARGV[5]) == BUCKETS - 1 then
    redis.call('SREM', tag .. ':garbage', ARGV[3])
end
return {'ok', removed}
