-- Prolongs the presence of clients of one channel: a fraction of what adding them again costs.
--
-- KEYS as in presence_add. ARGV: seconds that presence lasts, '1' where fields of a hash expire by themselves, how many
-- clients; the clients; then their users, each once, where users are counted. At most 1,000 of both.
-- Reply: the clients that are not there (any more), which have to be added again.
local ttl, count = ARGV[1], tonumber(ARGV[3])
local at = string.format('%.0f', tonumber(redis.call('TIME')[1]) + tonumber(ttl))
local missing = {}

local function prolong(hash, set, first, last, is_missing_told)
    local names, pairs_of = {}, {}
    for i = first, last do
        names[#names + 1] = ARGV[i]
    end
    if #names == 0 then
        return
    end
    local is_there = redis.call('EXPIRE', hash, ttl) == 1
    local known = {}
    if ARGV[2] == '1' then
        if is_there then
            known = redis.call('HEXPIRE', hash, ttl, 'FIELDS', #names, unpack(names))
        end
        for i = 1, #names do
            known[i] = known[i] and known[i] ~= -2
        end
    else
        if is_there then
            known = redis.call('ZMSCORE', set, unpack(names))
        end
        for i = 1, #names do
            if known[i] then
                pairs_of[#pairs_of + 1] = at
                pairs_of[#pairs_of + 1] = names[i]
            end
        end
        if #pairs_of > 0 then
            redis.call('ZADD', set, 'XX', unpack(pairs_of))
        end
        redis.call('EXPIRE', set, ttl)
    end
    if is_missing_told then
        for i = 1, #names do
            if not known[i] then
                missing[#missing + 1] = names[i]
            end
        end
    end
end

prolong(KEYS[1], KEYS[2], 4, 3 + count, true)
if KEYS[3] then
    prolong(KEYS[3], KEYS[4], 4 + count, #ARGV, false)
end
return missing
