-- Gives a run and the batches of its log from an id on. ARGV: run, first id, about how many bytes. The first batch does
-- not count, for it may have been read in part before.
local run = redis.call('HMGET', run_key(ARGV[3]), 'fixed', 'changing', 'lease')
local batches, size, from, count, wanted = {}, 0, ARGV[4], 1, tonumber(ARGV[5])
while run[1] and size < wanted do
  local page = redis.call('XRANGE', run_key(ARGV[3]) .. ':events', from, '+', 'COUNT', count)
  for _, entry in ipairs(page) do
    batches[#batches + 1] = {entry[2][2], entry[2][4]}
    size = size + (#batches > 1 and #entry[2][4] or 0)
    from = '(' .. entry[1]
  end
  if #page < count then
    break
  end
  count = size > 0 and math.max(1, math.min(128, math.floor((wanted - size) * #batches / size))) or 1
end
return {run, batches}
