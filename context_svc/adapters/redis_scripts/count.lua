-- Gives the number of threads, and of each open run its state and the microsecond in which it was made.
local open = {}
for place, id in ipairs(redis.call('ZRANGE', prefix .. 'deadlines', 0, -1)) do
  open[place] = {redis.call('HGET', run_key(id), 'state'), redis.call('ZSCORE', prefix .. 'runs', id)}
end
return {redis.call('ZCARD', prefix .. 'threads') + redis.call('ZCARD', prefix .. 'ephemeral'), open}
