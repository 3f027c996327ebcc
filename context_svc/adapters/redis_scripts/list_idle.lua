-- Names ephemeral threads without open runs. ARGV: the microsecond before which they were used last, limit.
local idle, offset, chunk, limit = {}, 0, 100, tonumber(ARGV[4])
repeat
  local page = redis.call('ZRANGEBYSCORE', prefix .. 'ephemeral', '-inf', '(' .. ARGV[3], 'LIMIT', offset, chunk)
  for _, id in ipairs(page) do
    if #idle < limit and redis.call('ZCARD', thread_key(id) .. ':open') == 0 then
      idle[#idle + 1] = id
    end
  end
  offset = offset + chunk
until #page < chunk or #idle >= limit
return idle
