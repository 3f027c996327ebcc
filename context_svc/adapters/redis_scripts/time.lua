return {redis.call('TIME'), known[3]}
