-- Removes clients from the presence of one channel.
--
-- KEYS as in presence_add. ARGV: client and user of each.
-- Reply: how many were there.
local removed = 0
for i = 1, #ARGV - 1, 2 do
    local is_there = redis.call('HDEL', KEYS[1], ARGV[i]) == 1
    redis.call('ZREM', KEYS[2], ARGV[i])
    if is_there then
        removed = removed + 1
        if KEYS[3] and redis.call('HINCRBY', KEYS[3], ARGV[i + 1], -1) <= 0 then
            redis.call('HDEL', KEYS[3], ARGV[i + 1])
            redis.call('ZREM', KEYS[4], ARGV[i + 1])
        end
    end
end
return removed
