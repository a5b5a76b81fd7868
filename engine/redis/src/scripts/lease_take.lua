-- Counts one more connection of a user, or says that there are as many as may be.
--
-- KEYS: sorted set of leases by when they were taken, sorted set of when they end. ARGV: the lease, how many there may be,
-- 'oldest' where the oldest ones make room for it, milliseconds that a lease lasts.
-- Reply: 1 and the leases that made room; or 0 and the leases that are in the way. At most 100 of them are named.
local taken, ends, lease = KEYS[1], KEYS[2], ARGV[1]
local most, ttl_ms = tonumber(ARGV[2]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local NAMED_MAX = 100

local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', now_ms, 'LIMIT', 0, NAMED_MAX)
if #ended > 0 then
    redis.call('ZREM', taken, unpack(ended))
    redis.call('ZREM', ends, unpack(ended))
end

local made_room = {}
if not redis.call('ZSCORE', taken, lease) then
    local excess = redis.call('ZCARD', taken) + 1 - most
    if excess > 0 then
        local oldest = redis.call('ZRANGE', taken, 0, math.min(excess, NAMED_MAX) - 1)
        if ARGV[3] ~= 'oldest' then
            return {0, unpack(redis.call('ZRANGE', taken, 0, NAMED_MAX - 1))}
        end
        redis.call('ZREM', taken, unpack(oldest))
        redis.call('ZREM', ends, unpack(oldest))
        made_room = oldest
    end
    redis.call('ZADD', taken, string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2])), lease)
end
redis.call('ZADD', ends, string.format('%.0f', now_ms + ttl_ms), lease)
redis.call('PEXPIRE', taken, ttl_ms)
redis.call('PEXPIRE', ends, ttl_ms)
return {1, unpack(made_room)}
