-- Says that the keys are of a version now. ARGV: the version.
redis.call('HSET', meta, 'schema', ARGV[3])
