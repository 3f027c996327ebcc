-- Counts a thread with everything in it anew, whatever was counted of it before. ARGV: the thread.
-- Reads at most some hundred records at once.
local thread, page = ARGV[3], 200
local key, tenant = thread_key(thread), tenant_of(thread)

local function settle(of, bytes, base)
  count(of, tenant, bytes - (redis.call('HGET', of, 'bytes') or 0))
  redis.call('HSET', of, 'base', base)
end

-- Gives the sum over what pages of a list or log hold.
local function sum(read, size)
  local total, at = 0, 0
  repeat
    local found = read(at)
    for _, each in ipairs(found) do
      total = total + size(each)
    end
    at = at + page
  until #found < page
  return total
end

local function measure_run(id)
  local of = run_key(id)
  local fixed, changing = unpack(redis.call('HMGET', of, 'fixed', 'changing'))
  local said, base = cjson.decode(changing), record_bytes + #cjson.decode(fixed).params
  for _, name in ipairs({'actions', 'finished'}) do
    base = base + (type(said[name]) == 'string' and #said[name] or 0)
  end
  local from = '-'
  local events = sum(function()
    local found = redis.call('XRANGE', of .. ':events', from, '+', 'COUNT', page)
    from = #found > 0 and '(' .. found[#found][1] or from
    return found
  end, function(entry) return #entry[2][4] end)
  local calls = 0
  for _, id in ipairs(redis.call('HKEYS', of .. ':calls')) do
    calls = calls + (redis.call('HEXISTS', of .. ':results', id) == 0 and call_bytes(redis.call('HGET', of .. ':calls', id)) or 0)
  end
  for _, id in ipairs(redis.call('HKEYS', of .. ':results')) do
    calls = calls + call_bytes(redis.call('HGET', of .. ':results', id))
  end
  settle(of, base + events + calls, base)
  return sum(function(at) return redis.call('LRANGE', of .. ':input', at, at + page - 1) end, item_bytes)
end

local named = redis.call('HMGET', key, 'key', 'record')
if not named[2] then
  return
end
local described = cjson.decode(named[2])
local base = record_bytes + #described.key + #described.metadata
local bytes = base
for _, id in ipairs(redis.call('ZRANGE', key .. ':runs', 0, -1)) do
  bytes = bytes + measure_run(id)
end
bytes = bytes + sum(function(at) return redis.call('ZRANGE', key .. ':items', at, at + page - 1) end, item_bytes)
settle(key, bytes, base)
