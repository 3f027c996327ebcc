-- Names ended runs that still have events. ARGV: the microsecond before which they ended, limit.
return redis.call('ZRANGEBYSCORE', prefix .. 'logs', '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
