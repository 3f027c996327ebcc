-- Without the prelude: begins a new generation where there is none. ARGV: a new generation, the version of the keys.
-- The steady clock never stands before the moment of the last commit, also if the wall clock was set back meanwhile.
local meta = KEYS[1] .. 'meta'
if redis.call('HSETNX', meta, 'generation', ARGV[1]) == 1 then
  redis.call('HSET', meta, 'schema', ARGV[2], 'commits', 0, 'correction', 0, 'steady', 0)
end
local known = redis.call('HMGET', meta, 'generation', 'schema', 'commits', 'correction', 'steady')
if tonumber(known[2]) > tonumber(ARGV[2]) then
  return known
end
local time = redis.call('TIME')
local behind = known[5] - (time[1] * 1000000 + time[2] + known[4])
if behind > 0 then
  redis.call('HINCRBY', meta, 'correction', string.format('%.0f', behind))
end
return known
