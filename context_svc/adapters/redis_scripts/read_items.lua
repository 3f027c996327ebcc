-- Gives items, each followed by its number. ARGV: thread, the number beyond which they lie, limit, '1' if descending.
local list, beyond = thread_key(ARGV[3]) .. ':items', '(' .. ARGV[4]
if ARGV[6] == '1' then
  return redis.call('ZREVRANGEBYSCORE', list, beyond, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
end
return redis.call('ZRANGEBYSCORE', list, beyond, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[5])
