-- Begins a new epoch where the offset of this one went back: a failover lost what was acknowledged.
--
-- KEYS: stream, meta hash. ARGV: the epoch and an offset of it that some node knows; the new epoch; seconds that the meta
-- hash stays, 0: for ever.
-- Reply: offset, epoch, '1' if this call began it. Of many nodes that ask, the first does.
local state = redis.call('HMGET', KEYS[2], 'e', 's')
local top = state[2] or '0'
local is_behind = #top < #ARGV[2] or #top == #ARGV[2] and top < ARGV[2]
if state[1] ~= ARGV[1] or not is_behind then
    return { top, state[1] or '', '0' }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'e', ARGV[3], 's', '0')
-- Versions belong to the old life.
redis.call('HDEL', KEYS[2], 'v', 've')
if ARGV[4] ~= '0' then
    redis.call('EXPIRE', KEYS[2], ARGV[4])
end
return { '0', ARGV[3], '1' }
