-- Shows that the server takes writes.
redis.call('HSETNX', meta, 'commits', 0)
