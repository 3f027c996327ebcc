-- Lists threads. ARGV[6]: what their keys begin with. ARGV[7]: '1' if only those of a tenant are wanted, ARGV[8]: whose.
-- ARGV[9]: '1' if the earliest stand first.
-- Few that match are found by the order of keys; of many, the first are found sooner by going through all in order.
local begins, only, tenant, ascending = ARGV[6], ARGV[7] == '1', ARGV[8], ARGV[9] == '1'
local index = prefix .. (tenant == '' and 'threads' or 'threads@' .. tenant)

-- A key of a tenant with a name stands behind that name, between separators.
local function parts(name)
  local whose, key = string.match(name, '^\31([^\31]*)\31(.*)$')
  return whose or '', key or name
end

local function give(id)
  local thread = redis.call('HMGET', thread_key(id), 'key', 'record')
  local whose, key = parts(thread[1])
  return (not only or whose == tenant) and string.sub(key, 1, #begins) == begins and thread[2]
end

if begins == '' or not only then
  return list_all(index, give, ascending)
end
local first = tenant == '' and begins or '\31' .. tenant .. '\31' .. begins
local from, to = '[' .. first, '(' .. first .. '\255'
local matching = redis.call('ZLEXCOUNT', prefix .. 'keys', from, to)
if matching * matching > limit * redis.call('ZCARD', index) then
  return list_all(index, give, ascending)
end
local ids = {}
for place, key in ipairs(redis.call('ZRANGEBYLEX', prefix .. 'keys', from, to)) do
  ids[place] = redis.call('HGET', prefix .. 'by-key', key)
end
return list_some(index, ids, give, ascending)
