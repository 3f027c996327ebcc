-- Begins every script. KEYS[1] begins every key. ARGV[1] and ARGV[2] are the generation and the number of commits that
-- the caller knows: data of another generation, or with fewer commits, is not the data that it has seen.
local prefix = KEYS[1]
local meta = prefix .. 'meta'
local known = redis.call('HMGET', meta, 'generation', 'commits', 'correction')
if known[1] ~= ARGV[1] or tonumber(known[2]) < tonumber(ARGV[2]) then
  return redis.error_reply('GENERATION the data is not what it was')
end

local function run_key(id)
  return prefix .. 'run:' .. id
end

local function thread_key(id)
  return prefix .. 'thread:' .. id
end
