-- What lists have in common: members of an index, the latest first or, `ascending`, the earliest, beyond a place. ARGV[3] to ARGV[5]: time and id of
-- the place, and how many are wanted. `give` turns a member into what is listed, or into nothing.
local time, beyond, limit = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local listed = {}

local function follows(score, member, other_score, other, ascending)
  if ascending then
    score, member, other_score, other = other_score, other, score, member
  end
  return score < other_score or (score == other_score and member < other)
end

local function list(member, score, give, ascending)
  if follows(score, member, time, beyond, ascending) then
    listed[#listed + 1] = give(member) or nil
  end
  return #listed >= limit
end

local function list_all(index, give, ascending)
  local command, last = 'ZREVRANGEBYSCORE', '-inf'
  if ascending then
    command, last = 'ZRANGEBYSCORE', '+inf'
  end
  local offset, chunk = 0, 100
  repeat
    local page = redis.call(command, index, ARGV[3], last, 'WITHSCORES', 'LIMIT', offset, chunk)
    for at = 1, #page, 2 do
      if list(page[at], tonumber(page[at + 1]), give, ascending) then
        return listed
      end
    end
    offset = offset + chunk
  until #page < 2 * chunk
  return listed
end

local function list_some(index, members, give, ascending)
  local scores = {}
  for _, member in ipairs(members) do
    scores[member] = tonumber(redis.call('ZSCORE', index, member))
  end
  table.sort(members, function(one, other)
    return follows(scores[other], other, scores[one], one, ascending)
  end)
  for _, member in ipairs(members) do
    if list(member, scores[member], give, ascending) then
      break
    end
  end
  return listed
end
