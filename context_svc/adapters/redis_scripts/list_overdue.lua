-- Names open runs. ARGV: the second before which their deadline was, the one before which their lease ended, limit.
local late, seen = {}, {}
local function add(index, before)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. index, '-inf', before, 'LIMIT', 0, ARGV[5])) do
    if not seen[id] and #late < tonumber(ARGV[5]) then
      seen[id] = true
      late[#late + 1] = id
    end
  end
end
add('deadlines', ARGV[3])
add('leases', ARGV[4])
return late
