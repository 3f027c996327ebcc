-- Gives the thread of a run, and the input that waits with it. ARGV: run.
return {redis.call('HGET', run_key(ARGV[3]), 'thread') or '', redis.call('LRANGE', run_key(ARGV[3]) .. ':input', 0, -1)}
