-- Reads the presence of one channel, without those whose time is over by Redis' own clock.
--
-- KEYS as in presence_add. ARGV: 'clients', or 'counts'.
-- Reply: client, ClientInfo, client, …; or how many clients and how many users.
local now = redis.call('TIME')[1]

-- 1,000 at a time, as unpack has a limit; 16 times, so that no read holds Redis up.
local function forget(hash, set)
    for _ = 1, 16 do
        local gone = redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 1000)
        if #gone == 0 then
            return
        end
        redis.call('HDEL', hash, unpack(gone))
        redis.call('ZREM', set, unpack(gone))
    end
end

forget(KEYS[1], KEYS[2])
if ARGV[1] == 'clients' then
    return redis.call('HGETALL', KEYS[1])
end
local users = 0
if KEYS[3] then
    forget(KEYS[3], KEYS[4])
    users = redis.call('HLEN', KEYS[3])
end
return { redis.call('HLEN', KEYS[1]), users }
