-- Adds clients to the presence of one channel, or says again who they are.
--
-- KEYS: hash of clients, sorted set of when they end; where users are counted: hash of users, sorted set of when they end.
-- ARGV: seconds that presence lasts, '1' where fields of a hash expire by themselves; then client, user, ClientInfo of each.
-- Reply: the seconds and microseconds of Redis' clock, the only one that decides.
local data, ends, users, users_ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, is_by_field = ARGV[1], ARGV[2] == '1'
local now = redis.call('TIME')
local at = string.format('%.0f', tonumber(now[1]) + tonumber(ttl))

local function prolong(hash, set, field)
    if is_by_field then
        redis.call('HEXPIRE', hash, ttl, 'FIELDS', '1', field)
    else
        redis.call('ZADD', set, at, field)
    end
end

for i = 3, #ARGV - 2, 3 do
    local client, user = ARGV[i], ARGV[i + 1]
    local is_new = redis.call('HSET', data, client, ARGV[i + 2]) == 1
    prolong(data, ends, client)
    if users then
        if is_new then
            redis.call('HINCRBY', users, user, 1)
        end
        prolong(users, users_ends, user)
    end
end
for i = 1, #KEYS do
    redis.call('EXPIRE', KEYS[i], ttl)
end
return now
