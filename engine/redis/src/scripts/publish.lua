-- Publishes up to 64 publications, each on its own: one that fails leaves the others alone.
--
-- KEYS, for each publication in turn: its stream and its meta hash if it has history; its result hash if it has a key.
-- ARGV: the command (PUBLISH or SPUBLISH), the epoch of channels that have none yet; then ten for each publication:
--   1 'h' where there is history, else ''    6 seconds that the stream stays
--   2 the Protobuf publication               7 seconds that the meta hash stays, 0: for ever
--   3 the pub/sub channel, '' for none       8 its version, 0 for none
--   4 seconds that the result stays, '' for no key
--   5 the stream's length                    9 the version's epoch, '' for any
--                                           10 '1' where the publication before it goes along
-- Reply, for each: offset, epoch, '1' if it was published before, '1' if its version is not newer; or one error.
local command, fresh_epoch = ARGV[1], ARGV[2]
local keys_used = 0

local function next_key()
    keys_used = keys_used + 1
    return KEYS[keys_used]
end

-- As text: numbers of Lua are doubles, and versions have 64 bits.
local function is_newer(version, known)
    if #version ~= #known then
        return #version > #known
    end
    return version > known
end

-- Text, where Lua would write an exponent.
local function decimal(number)
    if number < 1e14 then
        return number
    end
    return string.format('%.0f', number)
end

-- Epochs that this call has read already, and keys that it prolongs, once each, at its end.
local epochs, prolonged = {}, {}

local function newest(stream)
    local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
    if entry then
        for i = 1, #entry[2], 2 do
            if entry[2][i] == 'd' then
                return entry[2][i + 1]
            end
        end
    end
    return ''
end

local function append(stream, meta, at)
    local payload, channel = ARGV[at + 2], ARGV[at + 3]
    local version, version_epoch = ARGV[at + 8], ARGV[at + 9]
    local epoch = epochs[meta]
    if not epoch then
        epoch = redis.call('HGET', meta, 'e')
        if not epoch then
            epoch = fresh_epoch
            redis.call('HSET', meta, 'e', epoch)
        end
        epochs[meta] = epoch
    end
    if version ~= '0' then
        local state = redis.call('HMGET', meta, 'e', 's', 'v', 've')
        local is_comparable = version_epoch == '' or version_epoch == state[4]
        if state[3] and is_comparable and not is_newer(version, state[3]) then
            return { state[2] or '0', epoch, '0', '1' }
        end
        redis.call('HSET', meta, 'v', version, 've', version_epoch)
    end
    local offset = decimal(redis.call('HINCRBY', meta, 's', 1))
    if ARGV[at + 7] ~= '0' then
        prolonged[meta] = ARGV[at + 7]
    end
    local previous = ''
    if offset == 1 then
        -- The meta hash may have been evicted alone: what the stream still has is of another epoch.
        redis.call('DEL', stream)
    elseif ARGV[at + 10] == '1' then
        previous = newest(stream)
    end
    redis.call('XADD', stream, 'MAXLEN', ARGV[at + 5], offset, 'd', payload)
    prolonged[stream] = ARGV[at + 6]
    if channel ~= '' then
        local frame
        if ARGV[at + 10] == '1' then
            frame = '__d1:' .. offset .. ':' .. epoch .. ':' .. #previous .. ':' .. previous
                .. ':' .. #payload .. ':' .. payload
        else
            frame = '__p1:' .. offset .. ':' .. epoch .. '__' .. payload
        end
        redis.call(command, channel, frame)
    end
    return { offset, epoch, '0', '0' }
end

local function publish(stream, meta, result, at)
    if result then
        local known = redis.call('HMGET', result, 'e', 's')
        if known[1] then
            return { known[2] or '0', known[1], '1', '0' }
        end
    end
    local reply
    if stream then
        reply = append(stream, meta, at)
    else
        if ARGV[at + 3] ~= '' then
            redis.call(command, ARGV[at + 3], ARGV[at + 2])
        end
        reply = { '0', '', '0', '0' }
    end
    -- A publication that was held back is asked about anew.
    if result and reply[4] == '0' then
        if stream then
            redis.call('HSET', result, 'e', reply[2], 's', reply[1])
        else
            redis.call('HSET', result, 'e', '')
        end
        redis.call('EXPIRE', result, ARGV[at + 4])
    end
    return reply
end

local replies = {}
for at = 2, #ARGV - 10, 10 do
    local stream, meta, result
    if ARGV[at + 1] == 'h' then
        stream, meta = next_key(), next_key()
    end
    if ARGV[at + 4] ~= '' then
        result = next_key()
    end
    local is_done, reply = pcall(publish, stream, meta, result, at)
    if not is_done then
        -- A table from Redis 7 on, text before.
        local message = type(reply) == 'table' and reply.err or tostring(reply)
        if at == 2 and string.find(message, 'READONLY', 1, true) then
            -- The wrong Redis for all of them, and for whatever comes next.
            return redis.error_reply(string.sub(message, string.find(message, 'READONLY', 1, true), -1))
        end
        reply = { message }
    end
    replies[#replies + 1] = reply
end
for key, ttl in pairs(prolonged) do
    redis.call('EXPIRE', key, ttl)
end
return replies
