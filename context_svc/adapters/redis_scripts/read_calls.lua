return {redis.call('HVALS', run_key(ARGV[3]) .. ':calls'), redis.call('HVALS', run_key(ARGV[3]) .. ':results')}
