-- Gives instructions, each followed by its number. ARGV: thread.
local numbers, found = redis.call('HVALS', thread_key(ARGV[3]) .. ':instructions'), {}
table.sort(numbers, function(one, other) return tonumber(one) < tonumber(other) end)
for _, number in ipairs(numbers) do
  local record = redis.call('ZRANGEBYSCORE', thread_key(ARGV[3]) .. ':items', number, number)[1]
  found[#found + 1] = record or ''
  found[#found + 1] = number
end
return found
