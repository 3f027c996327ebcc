-- Gives the number and the record of each instruction. ARGV: thread.
local numbers, found = redis.call('HVALS', thread_key(ARGV[3]) .. ':instructions'), {}
table.sort(numbers, function(one, other) return tonumber(one) < tonumber(other) end)
for place, number in ipairs(numbers) do
  found[place] = {number, redis.call('LINDEX', thread_key(ARGV[3]) .. ':items', number)}
end
return found
