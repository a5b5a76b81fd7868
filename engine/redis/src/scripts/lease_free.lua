-- Connections of a user are gone.
--
-- KEYS as in lease_take. ARGV: the leases, at most 1,000.
-- Reply: how many were counted.
redis.call('ZREM', KEYS[2], unpack(ARGV))
return redis.call('ZREM', KEYS[1], unpack(ARGV))
