-- Lists threads. ARGV[6]: what their keys begin with. Few that do are found by the order of keys; of many, the latest
-- are found sooner by going through the latest of all.
local begins = ARGV[6]
local index = prefix .. 'threads'

local function give(id)
  local thread = redis.call('HMGET', thread_key(id), 'key', 'record')
  return string.sub(thread[1], 1, #begins) == begins and thread[2]
end

local from, to = '[' .. begins, '(' .. begins .. '\255'
local matching = begins == '' and math.huge or redis.call('ZLEXCOUNT', prefix .. 'keys', from, to)
if matching * matching > limit * redis.call('ZCARD', index) then
  return list_all(index, give)
end
local ids = {}
for place, key in ipairs(redis.call('ZRANGEBYLEX', prefix .. 'keys', from, to)) do
  ids[place] = redis.call('HGET', prefix .. 'by-key', key)
end
return list_some(index, ids, give)
