-- Lists runs. ARGV[6]: the thread, or '' for all. ARGV[7]: '1' if only open ones are wanted. ARGV[8]: '1' if only those of
-- a tenant are wanted, ARGV[9]: whose. ARGV from 10: the states.
local only, tenant = ARGV[8] == '1', ARGV[9]
local states = {}
for at = 10, #ARGV do
  states[ARGV[at]] = true
end

local function give(id)
  local run = redis.call('HMGET', run_key(id), 'state', 'fixed', 'changing', 'lease', 'tenant')
  return states[run[1]] and (not only or (run[5] or '') == tenant) and {run[2], run[3], run[4]}
end

if ARGV[6] ~= '' then
  return list_all(thread_key(ARGV[6]) .. ':runs', give)
elseif ARGV[7] == '1' then
  return list_some(prefix .. 'runs', redis.call('ZRANGE', prefix .. 'deadlines', 0, -1), give)
end
return list_all(prefix .. (tenant == '' and 'runs' or 'runs@' .. tenant), give)
