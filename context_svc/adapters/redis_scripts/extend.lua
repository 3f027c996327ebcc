-- Extends the leases of open runs. ARGV: the second until which they last at least.
local short = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', '(' .. ARGV[3])
for _, id in ipairs(short) do
  local thread = redis.call('HGET', run_key(id), 'thread')
  redis.call('HSET', run_key(id), 'lease', ARGV[3])
  redis.call('ZADD', prefix .. 'leases', ARGV[3], id)
  redis.call('HINCRBY', thread_key(thread), 'version', 1)
end
