-- Gives the number of the first item and the items. ARGV: thread, the number beyond which they lie, limit, descending.
local list = thread_key(ARGV[3]) .. ':items'
local length, after, limit = redis.call('LLEN', list), tonumber(ARGV[4]), tonumber(ARGV[5])
local first, last = after + 1, math.min(after + limit, length - 1)
if ARGV[6] == '1' then
  last = math.min(after, length) - 1
  first = math.max(0, last - limit + 1)
end
if last < first then
  return {'0', {}}
end
return {tostring(first), redis.call('LRANGE', list, first, last)}
