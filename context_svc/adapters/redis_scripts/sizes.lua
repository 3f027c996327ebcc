-- What counts as stored, as `sizes.py` says it of what is written. Every thread and run says in `bytes` what is counted of
-- it; the hash `stored` sums that up by tenants.
local record_bytes = 100

-- Counts so many bytes more of a thread or run.
local function count(key, tenant, difference)
  if difference ~= 0 then
    redis.call('HINCRBY', key, 'bytes', difference)
    if redis.call('HINCRBY', prefix .. 'stored', tenant, difference) == 0 then
      redis.call('HDEL', prefix .. 'stored', tenant)
    end
  end
end

-- Gives the tenant in whose name a thread has its key.
local function tenant_of(thread)
  return string.match(redis.call('HGET', thread_key(thread), 'key') or '', '^\31([^\31]*)\31') or ''
end

-- Gives what an item counts: a record holds a letter, a digest of 16 bytes, and JSON.
local function item_bytes(record)
  return record_bytes + #cjson.decode(string.sub(record, 18)).body
end

local function items_bytes(records)
  local sum = 0
  for _, record in ipairs(records) do
    sum = sum + item_bytes(record)
  end
  return sum
end

-- Gives what a call counts; nothing where there is none.
local function call_bytes(record)
  if not record then
    return 0
  end
  local call = cjson.decode(record)
  return record_bytes + #call.args + (type(call.result) == 'string' and #call.result or 0)
end
