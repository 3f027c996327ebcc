return redis.call('HGET', thread_key(ARGV[3]), 'record')
