-- Sets the steady clock. ARGV: the correction that was seen, and by how many microseconds the clock jumped ahead.
if known[3] == ARGV[3] then
  local correction = redis.call('HINCRBY', meta, 'correction', -ARGV[4])
  local time = redis.call('TIME')
  redis.call('HSET', meta, 'steady', string.format('%.0f', time[1] * 1000000 + time[2] + correction))
end
