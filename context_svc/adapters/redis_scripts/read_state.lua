-- Gives what is within scopes. ARGV, for each scope: run id, '1' for only the run, thread id, thread key, receipt key, and
-- the tenant whose bytes are asked for, behind '+', or nothing.
local function version(thread)
  return redis.call('HGET', thread_key(thread), 'version') or '0'
end

local function find_run(id)
  local run = redis.call('HMGET', run_key(id), 'fixed', 'changing', 'lease', 'thread')
  return run[1] and {run[1], run[2], run[3], run[4], version(run[4])}
end

local function open_runs(thread)
  local found = {}
  for _, id in ipairs(redis.call('ZRANGE', thread_key(thread) .. ':open', 0, -1)) do
    found[#found + 1] = find_run(id)
  end
  return found
end

local function state(run_id, only_run, thread, key, receipt_key)
  local receipt = receipt_key ~= '' and redis.call('HGET', prefix .. 'receipts', receipt_key)
  local wanted = run_id
  if wanted == '' and receipt then
    wanted = cjson.decode(receipt).run_id
  end
  local run = find_run(wanted)
  if only_run == '1' then
    return {receipt, run, false, '', '0', {}}
  end
  if run_id ~= '' and run then
    thread = run[4]
  end
  local record = redis.call('HGET', thread_key(thread), 'record')
  local of_key = key ~= '' and redis.call('HGET', prefix .. 'by-key', key)
  if of_key then
    thread, record = of_key, redis.call('HGET', thread_key(of_key), 'record')
  end
  return {receipt, run, record, of_key or '', version(thread), open_runs(thread)}
end

local found = {}
for at = 3, #ARGV, 6 do
  local answer = state(ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
  local measured = ARGV[at + 5]
  answer[#answer + 1] = measured ~= '' and redis.call('HGET', prefix .. 'stored', string.sub(measured, 2)) or '0'
  found[#found + 1] = answer
end
return {redis.call('TIME'), known[3], found}
