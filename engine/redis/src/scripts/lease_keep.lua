-- Says that connections of a user are still there. Those that Redis has lost are counted again, whatever the limit is.
--
-- KEYS as in lease_take. ARGV: milliseconds that a lease lasts; the leases, at most 1,000.
-- Reply: how many had been lost.
local taken, ends, ttl_ms = KEYS[1], KEYS[2], tonumber(ARGV[1])
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
local at = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ttl_ms)
local lost = 0
for i = 2, #ARGV do
    lost = lost + redis.call('ZADD', taken, 'NX', now, ARGV[i])
    redis.call('ZADD', ends, at, ARGV[i])
end
redis.call('PEXPIRE', taken, ttl_ms)
redis.call('PEXPIRE', ends, ttl_ms)
return lost
