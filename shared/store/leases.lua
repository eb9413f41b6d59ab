-- Hands out leases: parts of limits that all workers share. One call serves any number of limits.
--
-- Keys       1 the state (hash: epoch, since), 2 the workers (sorted set: name, last call),
--            then one key per limit. All have the same {hash tag}.
-- Arguments  1 the worker's name, 2 an id for a new epoch, 3 "1" if the worker could not reach this
--            store before this call, 4 the grace period in ms, 5 how long a worker is live after its
--            last call, in ms, 6 a time in ms that replaces the server's time; "" in production,
--            7 a JSON array with an array per limit: "rate" or "window", amount, period in ms, burst,
--            wanted, needed, returned, the slot that the returned leases were taken from.
--            It is JSON, because a client packs one argument faster than eight per limit.
-- Result     a JSON array: epoch, the rest of the grace period in ms, number of live workers; then
--            an array per limit: granted, ms until more can be granted, the used part of a window,
--            the present slot of the window. During the grace period nothing is granted.
-- Atomic guarantee
--   For a rate (GCRA), the leases granted within any time t are at most amount / period * t + burst,
--   or one message more if a message is larger than the burst. For a window, at most `amount` is
--   granted in any period. If the state is missing (the server was emptied) or a worker could not
--   reach the store, a grace period begins. Each worker then uses only its own share.

local SLOTS = 60

local function clock()
  if ARGV[6] ~= '' then return tonumber(ARGV[6]) end
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + tonumber(t[2]) / 1000
end

-- Numbers are written in full, because tostring() writes only 14 digits, and the time has 13 digits
-- before its decimal point.
local function text(number) return string.format('%.6f', number) end

local now = clock()
local state, workers = KEYS[1], KEYS[2]
local grace, alive = tonumber(ARGV[4]), tonumber(ARGV[5])

local epoch = redis.call('HGET', state, 'epoch')
local since = tonumber(redis.call('HGET', state, 'since') or '0')
if not epoch then
  epoch, since = ARGV[2], now
elseif ARGV[3] == '1' and now - since > grace then
  since = now
end
redis.call('HSET', state, 'epoch', epoch, 'since', text(since))
redis.call('ZADD', workers, now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', workers, '-inf', '(' .. text(now - alive))
local left = math.max(0, math.ceil(since + grace - now))
local result = { epoch, left, redis.call('ZCARD', workers) }

local function from_rate(key, amount, period, burst, wanted, needed, returned)
  local each = period / amount
  -- The theoretical arrival time is the time when the bucket is full again.
  local tat = tonumber(redis.call('GET', key) or '0') - returned * each
  tat = math.max(tat, now)
  local free = burst - (tat - now) / each
  local least = math.min(needed, burst)
  local granted = 0
  -- A difference of a thousandth of a message is a rounding error.
  if left == 0 and wanted > 0 and free + 0.001 >= least then
    granted = math.max(math.min(wanted, math.floor(free + 0.001)), needed)
    tat = tat + granted * each
  end
  if tat > now then
    redis.call('SET', key, text(tat), 'PX', math.ceil(tat - now) + 1000)
  else
    redis.call('DEL', key)
  end
  free = burst - (tat - now) / each
  local next_lease = math.min(math.max(needed, wanted / 2), burst)
  return granted, math.max(0, math.ceil((next_lease - free) * each)), 0, 0
end

local function from_window(key, amount, period, wanted, needed, returned, returned_slot)
  local width = period / SLOTS
  local slot = math.floor(now / width)
  local used, oldest = 0, nil
  local found = redis.call('HGETALL', key)
  for i = 1, #found, 2 do
    local at, count = tonumber(found[i]), tonumber(found[i + 1])
    if at < slot - SLOTS then
      redis.call('HDEL', key, found[i])
    else
      if at == returned_slot then
        local gone = math.min(count, returned)
        count = count - gone
        redis.call('HSET', key, found[i], text(count))
      end
      used = used + count
      if count > 0 and (not oldest or at < oldest) then oldest = at end
    end
  end
  local granted, wait = 0, 0
  local free = amount - used
  if left == 0 and wanted > 0 then
    if free >= needed or used == 0 then
      granted = math.max(math.min(wanted, math.floor(free)), needed)
      redis.call('HINCRBYFLOAT', key, slot, granted)
      redis.call('PEXPIRE', key, math.ceil(period + 2 * width))
      used = used + granted
    else
      wait = math.ceil(((oldest or slot) + SLOTS + 1) * width - now)
    end
  end
  return granted, wait, used, slot
end

for i, asked in ipairs(cjson.decode(ARGV[7])) do
  local kind, amount, period, burst, wanted, needed, returned, from = unpack(asked)
  local granted, wait, used, slot
  if kind == 'rate' then
    granted, wait, used, slot = from_rate(KEYS[i + 2], amount, period, burst, wanted, needed, returned)
  else
    granted, wait, used, slot = from_window(KEYS[i + 2], amount, period, wanted, needed, returned, from)
  end
  result[#result + 1] = { granted, wait, math.ceil(used), slot }
end
return cjson.encode(result)
