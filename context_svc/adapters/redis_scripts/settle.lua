-- Says what became of a batch, and sees to it that nothing becomes of it later. ARGV: the writer, the batch's number.
-- Gives the batch's letters, empty if it was not applied, and the number of commits.
local writer = prefix .. 'writer:' .. ARGV[3]
local number, letters = string.match(redis.call('GET', writer) or '', '^(%d+):(.*)$')
if number == ARGV[4] then
  return {letters, known[2]}
end
redis.call('SET', writer, ARGV[4] .. ':', 'EX', 3600)
return {'', known[2]}
