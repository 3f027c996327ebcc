return redis.call('HMGET', run_key(ARGV[3]), 'fixed', 'changing', 'lease')
