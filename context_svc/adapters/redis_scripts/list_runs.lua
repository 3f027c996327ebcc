-- Lists runs. ARGV[6]: the thread, or '' for all. ARGV[7]: '1' if only open ones are wanted. ARGV from 8: the states.
local states = {}
for at = 8, #ARGV do
  states[ARGV[at]] = true
end

local function give(id)
  local run = redis.call('HMGET', run_key(id), 'state', 'fixed', 'changing', 'lease')
  return states[run[1]] and {run[2], run[3], run[4]}
end

local index = prefix .. 'runs'
if ARGV[6] ~= '' then
  return list_all(thread_key(ARGV[6]) .. ':runs', give)
elseif ARGV[7] == '1' then
  return list_some(index, redis.call('ZRANGE', prefix .. 'deadlines', 0, -1), give)
end
return list_all(index, give)
