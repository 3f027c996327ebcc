-- What lists have in common: members of an index, the latest first, beyond a place. ARGV[3] to ARGV[5]: time and id of
-- the place, and how many are wanted. `give` turns a member into what is listed, or into nothing.
local time, beyond, limit = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local listed = {}

local function list(member, score, give)
  if score < time or (score == time and member < beyond) then
    listed[#listed + 1] = give(member) or nil
  end
  return #listed >= limit
end

local function list_all(index, give)
  local offset, chunk = 0, 100
  repeat
    local page = redis.call('ZREVRANGEBYSCORE', index, ARGV[3], '-inf', 'WITHSCORES', 'LIMIT', offset, chunk)
    for at = 1, #page, 2 do
      if list(page[at], tonumber(page[at + 1]), give) then
        return listed
      end
    end
    offset = offset + chunk
  until #page < 2 * chunk
  return listed
end

local function list_some(index, members, give)
  local scores = {}
  for _, member in ipairs(members) do
    scores[member] = tonumber(redis.call('ZSCORE', index, member))
  end
  table.sort(members, function(one, other)
    return scores[one] > scores[other] or (scores[one] == scores[other] and one > other)
  end)
  for _, member in ipairs(members) do
    if list(member, scores[member], give) then
      break
    end
  end
  return listed
end
