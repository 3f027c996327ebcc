-- Makes changes, each whole or not at all. ARGV: the writer, the number of this batch, the steady microsecond at which
-- the changes were decided; then for each change the number of its conditions, each of a kind, a name and a value, the
-- number of its commands, and each command behind the number of its words. Gives a letter for each change: 'a' for
-- applied, 'c' for a conflict with somebody else's change, 'd' for damage; and the number of commits.
local writer = prefix .. 'writer:' .. ARGV[3]
local last = redis.call('GET', writer)
if last and tonumber(string.match(last, '^%d+')) >= tonumber(ARGV[4]) then
  return redis.error_reply('FENCED this batch was given up')
end

local at = 5
local function take()
  at = at + 1
  return ARGV[at]
end

local found = {
  version = function(thread) return redis.call('HGET', thread_key(thread), 'version') or '0' end,
  key = function(key) return redis.call('HGET', prefix .. 'by-key', key) or '' end,
  receipt = function(key) return redis.call('HGET', prefix .. 'receipts', key) or '' end,
}

-- Says whether a thread has all items that were ever added and not pruned, and none with a number from `first` on.
local function has_room(thread, first)
  local list = thread_key(thread) .. ':items'
  local last = redis.call('ZRANGE', list, -1, -1, 'WITHSCORES')[2]
  local held = redis.call('HGET', thread_key(thread), 'items') or '0'
  return redis.call('ZCARD', list) == tonumber(held) and tonumber(last or '-1') < tonumber(first)
end

local function verdict()
  local letter, conflict = 'a', false
  for _ = 1, tonumber(take()) do
    local kind, name, expected = take(), take(), take()
    if kind == 'room' then
      letter = has_room(name, expected) and letter or 'd'
    elseif found[kind](name) ~= expected then
      conflict = true
    end
  end
  return conflict and 'c' or letter
end

local function commands()
  local read = {}
  for number = 1, tonumber(take()) do
    local words = {}
    for word = 1, tonumber(take()) do
      words[word] = take()
    end
    read[number] = words
  end
  return read
end

-- Commands of our own, besides those of the server.
local own = {}

local function add_item(thread, number, record)
  local key = thread_key(thread)
  redis.call('HINCRBY', key, 'items', redis.call('ZADD', key .. ':items', number, record))
  if string.sub(record, 1, 1) == 'I' then
    redis.call('HSETNX', key .. ':instructions', string.sub(record, 2, 17), number)
  end
end

-- Adds items to a thread, each behind its number. A record begins with 'I' for an instruction, 'S' for a summary, '-'
-- for others, and the message's digest of 16 bytes; of several equal instructions the first is remembered.
function own.ITEMS(thread, ...)
  local words = {...}
  for place = 1, #words, 2 do
    add_item(thread, words[place], words[place + 1])
  end
end

-- Lets an item of a thread say something else, if it is still there.
function own.AMEND(thread, number, record)
  local list = thread_key(thread) .. ':items'
  local before = redis.call('ZRANGEBYSCORE', list, number, number)
  if redis.call('ZREMRANGEBYSCORE', list, number, number) > 0 then
    redis.call('ZADD', list, number, record)
    count(thread_key(thread), tenant_of(thread), item_bytes(record) - items_bytes(before))
  end
end

-- Counts of a thread or run what stands in itself, in place of what stood there, and so many bytes that were added.
function own.COUNT(key, tenant, base, added)
  local before = redis.call('HGET', key, 'base') or 0
  if before ~= base then
    redis.call('HSET', key, 'base', base)
  end
  count(key, tenant, base - before + added)
end

-- Writes a call of a run. What has ended of it is kept apart from the call, so that the first end stays.
function own.CALL(run, tenant, id, ended, record)
  local calls, results = run_key(run) .. ':calls', run_key(run) .. ':results'
  if redis.call('HEXISTS', results, id) == 0 then
    count(run_key(run), tenant, call_bytes(record) - call_bytes(redis.call('HGET', calls, id)))
    redis.call('HSET', ended == '1' and results or calls, id, record)
  end
end

-- Forgets input of a run that is never admitted.
function own.DROP(run, thread, tenant)
  local input = run_key(run) .. ':input'
  count(thread_key(thread), tenant, -items_bytes(redis.call('LRANGE', input, 0, -1)))
  redis.call('DEL', input)
  redis.call('ZREM', prefix .. 'inputs', run)
end

-- Moves the input of a run into its thread.
function own.ADMIT(input, thread, first)
  for ordinal, record in ipairs(redis.call('LRANGE', input, 0, -1)) do
    add_item(thread, string.format('%.0f', first + ordinal - 1), record)
  end
  redis.call('DEL', input)
end

-- Forgets the items of a thread with numbers from `first` to below `stop`, but for instructions and summaries.
function own.PRUNE(thread, first, stop)
  local key, gone, bytes = thread_key(thread), 0, 0
  for _, record in ipairs(redis.call('ZRANGEBYSCORE', key .. ':items', first, '(' .. stop)) do
    if string.sub(record, 1, 1) == '-' then
      gone = gone + redis.call('ZREM', key .. ':items', record)
      bytes = bytes + item_bytes(record)
    end
  end
  redis.call('HINCRBY', key, 'items', -gone)
  count(key, tenant_of(thread), -bytes)
end

-- Remembers where an instruction is said first now that the item which did is gone.
local function remember_next(key, digest)
  redis.call('HDEL', key .. ':instructions', digest)
  local at, page = 0, 200
  repeat
    local records = redis.call('ZRANGE', key .. ':items', at, at + page - 1)
    for _, record in ipairs(records) do
      if string.sub(record, 1, 17) == 'I' .. digest then
        redis.call('HSET', key .. ':instructions', digest, redis.call('ZSCORE', key .. ':items', record))
        return
      end
    end
    at = at + page
  until #records < page
end

-- Forgets the item of a thread with a number, whatever it is.
function own.REMOVE(thread, number)
  local key = thread_key(thread)
  local record = redis.call('ZRANGEBYSCORE', key .. ':items', number, number)[1]
  if record then
    redis.call('HINCRBY', key, 'items', -redis.call('ZREM', key .. ':items', record))
    count(key, tenant_of(thread), -item_bytes(record))
    local digest = string.sub(record, 2, 17)
    if redis.call('HGET', key .. ':instructions', digest) == number then
      remember_next(key, digest)
    end
  end
end

-- Forgets the calls of a run and its events numbered below `first`, which are all that it has once it has ended.
function own.CUT(run, tenant, first)
  local key = run_key(run)
  redis.call('UNLINK', key .. ':calls', key .. ':results')
  redis.call('XTRIM', key .. ':events', 'MINID', string.format('%.0f-0', first + 1))
  if redis.call('XLEN', key .. ':events') == 0 then
    redis.call('UNLINK', key .. ':events')
    count(key, tenant, (redis.call('HGET', key, 'base') or 0) - (redis.call('HGET', key, 'bytes') or 0))
  end
end

local function forget_run(id)
  local key = run_key(id)
  local tenant = redis.call('HGET', key, 'tenant')
  count(key, tenant or '', -(redis.call('HGET', key, 'bytes') or 0))
  if tenant then
    redis.call('ZREM', prefix .. 'runs@' .. tenant, id)
  end
  redis.call('UNLINK', key, key .. ':input', key .. ':events', key .. ':calls', key .. ':results')
  for _, index in ipairs({'runs', 'leases', 'deadlines', 'logs', 'inputs'}) do
    redis.call('ZREM', prefix .. index, id)
  end
end

local function forget_receipt(key, thread)
  local receipt = redis.call('HGET', prefix .. 'receipts', key)
  if receipt and cjson.decode(receipt).thread_id == thread then
    redis.call('HDEL', prefix .. 'receipts', key)
    redis.call('ZREM', prefix .. 'receipts:expiry', key)
  end
end

-- Forgets a thread with everything that belongs to it.
function own.FORGET(thread)
  local key = thread_key(thread)
  for _, id in ipairs(redis.call('ZRANGE', key .. ':runs', 0, -1)) do
    forget_run(id)
  end
  for _, receipt in ipairs(redis.call('SMEMBERS', key .. ':receipts')) do
    forget_receipt(receipt, thread)
  end
  local name = redis.call('HGET', key, 'key')
  if name and redis.call('HGET', prefix .. 'by-key', name) == thread then
    redis.call('HDEL', prefix .. 'by-key', name)
    redis.call('ZREM', prefix .. 'keys', name)
  end
  redis.call('ZREM', prefix .. 'threads', thread)
  redis.call('ZREM', prefix .. 'ephemeral', thread)
  count(key, tenant_of(thread), -(redis.call('HGET', key, 'bytes') or 0))
  local tenant = string.match(name or '', '^\31([^\31]*)\31')
  if tenant then
    redis.call('ZREM', prefix .. 'threads@' .. tenant, thread)
  end
  redis.call('UNLINK', key, key .. ':items', key .. ':instructions', key .. ':runs', key .. ':open', key .. ':receipts')
end

local letters, accepted = {}, {}
for number = 1, tonumber(take()) do
  letters[number] = verdict()
  local wanted = commands()
  if letters[number] == 'a' then
    accepted[#accepted + 1] = wanted
  end
end
local answer = table.concat(letters)
if #accepted == 0 then
  return {answer, known[2]}
end
-- A server without memory refuses the first command that writes, so this one comes before all others.
redis.call('SET', writer, ARGV[4] .. ':' .. answer, 'EX', 3600)
local commits = redis.call('HINCRBY', meta, 'commits', 1)
redis.call('HSET', meta, 'steady', ARGV[5])
for _, wanted in ipairs(accepted) do
  for _, words in ipairs(wanted) do
    local name = table.remove(words, 1)
    if own[name] then
      own[name](unpack(words))
    else
      redis.call(name, unpack(words))
    end
  end
end
return {answer, tostring(commits)}
