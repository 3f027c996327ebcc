-- Forgets receipts, some at a time, and gives their number. ARGV: the microsecond before which they expired, limit.
local expired = redis.call('ZRANGEBYSCORE', prefix .. 'receipts:expiry', '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
for _, key in ipairs(expired) do
  local receipt = redis.call('HGET', prefix .. 'receipts', key)
  redis.call('SREM', thread_key(cjson.decode(receipt).thread_id) .. ':receipts', key)
  redis.call('HDEL', prefix .. 'receipts', key)
  redis.call('ZREM', prefix .. 'receipts:expiry', key)
end
return #expired
