-- Names ended runs that still have input. ARGV: the microsecond before which they ended, limit.
-- A process of an earlier version forgets runs without taking them out of the list; so does this.
local found = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'inputs', '-inf', '(' .. ARGV[3])) do
  if #found == tonumber(ARGV[4]) then
    break
  end
  if redis.call('EXISTS', run_key(id) .. ':input') == 1 then
    found[#found + 1] = id
  else
    redis.call('ZREM', prefix .. 'inputs', id)
  end
end
return found
