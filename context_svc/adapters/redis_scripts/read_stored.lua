-- Gives what a tenant has stored. ARGV: the tenant.
return redis.call('HGET', prefix .. 'stored', ARGV[3]) or '0'
