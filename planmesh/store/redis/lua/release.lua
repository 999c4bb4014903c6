-- Releases the lease of a replacement: ARGV[3] is its token.
if redis.call('GET', tag .. ':writing') == ARGV[3] then
    redis.call('DEL', tag .. ':writing')
end
return {'ok'}
