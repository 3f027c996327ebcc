-- Gives instructions, each followed by its number. ARGV: thread, how many there
-- may be for all of them to be given; of more only the first is.
local numbers, found = redis.call('HVALS', thread_key(ARGV[3]) .. ':instructions'), {}
table.sort(numbers, function(one, other) return tonumber(one) < tonumber(other) end)
local given = #numbers > tonumber(ARGV[4]) and {numbers[1]} or numbers
for _, number in ipairs(given) do
  local record = redis.call('ZRANGEBYSCORE', thread_key(ARGV[3]) .. ':items', number, number)[1]
  found[#found + 1] = record or ''
  found[#found + 1] = number
end
return found
