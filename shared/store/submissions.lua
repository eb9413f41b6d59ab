-- Stores the recent submissions by key. The validate service claims keys. The front door reserves keys;
-- if it replies to the client that the message is not stored, it withdraws the key.
--
-- Keys
--   KEYS[1]  the state, a hash; must contain a {hash tag}. `log` the id of the topic from which the
--            keys can be restored; `generation` a token, present once the keys are complete;
--            `seen:<partition>` the offset up to which a partition's claims are stored;
--            `buckets:<slot>` the number of buckets for the keys of a slot; `window` and `buckets`
--            the values of the last claim, which reservations use; `evicted`, set by
--            submissions.py, the server's count of evictions.
--   KEYS[1]:<log>:<slot>:<bucket>  a hash: 7 bytes of the key -> mail id (16 bytes), content (4),
--            place (3, zeros while only reserved), and in rare cases a mark of one byte. The mark of
--            a reserved key is the number of waiting submissions, unless it is one (0: withdrawn).
--            The mark CANCELLED means that a claim found the key withdrawn. A slot lasts SLOT_S.
--   KEYS[2]  the token of the process that restores the keys now; expires after LOCK_MS.
-- Arguments
--   1 verb, 2 log, 3 window in seconds, 4 buckets of a new slot ("" for each: as the last claim),
--   then by verb:
--   claim    5 known generation ("" none), 6 "partition:offset ..." that must have been seen,
--            7 "partition:offset ..." seen now, 8 entries: key 11, mail id 16, content 4, place 3,
--            9 formers: "", or for each entry its key (11) and content (4) in the form that older
--            versions stored, which may be the present form
--   reserve, withdraw  5 entries: key 11, mail id 16, content 4
--   begin    5 token          restore  5 token, 6 time in seconds, 7 entries as for claim
--   finish   5 token
-- Result
--   claim    {1, generation, answers}; {0, ""} nothing done, because the keys are incomplete;
--            {2, generation} nothing done, because the keys were restored: repeat the latest claims
--   reserve, withdraw  {1, generation, answers}; {0, ""} nothing done: the keys are incomplete
--            answers: 17 bytes per entry, a letter and a mail id. N: new, or the same record again;
--            its own id. R (reserve only): reserved before, and possibly not written; the reserved
--            id. D: the key has the same content; the id of the first submission. C: the key has
--            another content. W (claim only): withdrawn before it was claimed; its own id.
--            For withdraw: D: it was claimed before, and is processed under this id; N: it will not
--            be processed, unless other submissions with its key and content wait.
--   begin    1 continue; 0 the keys are complete; -1 another process restores them
--   restore, finish  1 done; 0 nothing done, because the token is no longer valid
-- Atomic guarantee
--   Each call is atomic. If two claims for one key have different places, exactly one of them is
--   answered N, unless one has left the window or was withdrawn. If all reservations of a mail id
--   were withdrawn, no claim for this id is answered N, unless the id is reserved again.

local SLOT_S, LOCK_MS, FULL = 43200, 15000, 34
local KEY, MAIL_ID, CONTENT = 11, 16, 4
local ENTRY, FORMER = MAIL_ID + CONTENT + 3, KEY + CONTENT
local NO_PLACE, CANCELLED = '\0\0\0', 'w'
local MANY = 255  -- with this many waiting submissions, the number stays the same, and none withdraws

local state, verb = KEYS[1], ARGV[1]
local found_log, generation, had_window, had_buckets =
  unpack(redis.call('HMGET', state, 'log', 'generation', 'window', 'buckets'))
local log, window, new_buckets = ARGV[2], ARGV[3], ARGV[4]
local is_door = verb == 'reserve' or verb == 'withdraw'
if is_door then
  log, window, new_buckets = found_log, had_window, had_buckets
end
local whole = generation and found_log == log
if is_door and not whole then return {0, ''} end
local window_s = tonumber(window)

local now_slot = math.floor(tonumber(redis.call('TIME')[1]) / SLOT_S)
local reach = math.ceil(window_s / SLOT_S)
local buckets = {}

local function open_slot(slot)
  if not buckets[slot] then
    local field = 'buckets:' .. slot
    redis.call('HSETNX', state, field, new_buckets)
    buckets[slot] = tonumber(redis.call('HGET', state, field))
    if slot == now_slot then
      for _, name in ipairs(redis.call('HKEYS', state)) do
        local old = string.match(name, '^buckets:(%d+)$')
        if old and tonumber(old) < now_slot - 2 * reach - 1 then redis.call('HDEL', state, name) end
      end
    end
  end
end

local function load_slots()
  for slot = now_slot - reach, now_slot do
    local found = redis.call('HGET', state, 'buckets:' .. slot)
    if found then buckets[slot] = tonumber(found) end
  end
end

local function spread(key)
  local a, b, c, d = string.byte(key, 1, 4)
  return ((a * 256 + b) * 256 + c) * 256 + d, string.sub(key, 5)
end

local function name_of(slot, number)
  return state .. ':' .. log .. ':' .. slot .. ':' .. number % buckets[slot]
end

local function find(number, field)
  for slot = now_slot, now_slot - reach, -1 do
    if buckets[slot] then
      local name = name_of(slot, number)
      local value = redis.call('HGET', name, field)
      if value then return value, name, slot end
    end
  end
end

local function keep(slot, number, field, value)
  open_slot(slot)
  local name = name_of(slot, number)
  redis.call('HSET', name, field, value)
  if redis.call('HLEN', name) == 1 then
    redis.call('EXPIREAT', name, (slot + 1) * SLOT_S + window_s)
  end
  return name
end

local function each(entries, width, answer)
  local answers = {}
  for at = 1, #entries, width do
    local key = string.sub(entries, at, at + KEY - 1)
    local rest = string.sub(entries, at + KEY, at + width - 1)
    answers[#answers + 1] = answer(key, rest, #answers)
  end
  return table.concat(answers)
end

local function own_id(rest) return string.sub(rest, 1, MAIL_ID) end

local function content_of(value) return string.sub(value, MAIL_ID + 1, MAIL_ID + CONTENT) end

local function place_of(value) return string.sub(value, MAIL_ID + CONTENT + 1, ENTRY) end

local function mark_of(value) return string.sub(value, ENTRY + 1) end

local function is_same(value, rest) return content_of(value) == content_of(rest) end

local function judged(value, rest)
  return (is_same(value, rest) and 'D' or 'C') .. own_id(value)
end

local function waiting(value)
  local mark = mark_of(value)
  return mark == '' and 1 or string.byte(mark)
end

local function keep_waiting(name, field, value, count)
  local mark = count == 1 and '' or string.char(math.min(count, MANY))
  redis.call('HSET', name, field, string.sub(value, 1, ENTRY) .. mark)
end

-- Convert an entry of an older version to the present key and content. It stays in its slot.
local function renew(value, name, key, rest, former)
  local content, slot = string.sub(former, KEY + 1), nil
  if value then
    if content_of(value) ~= content then return value, name end
  else
    value, name, slot = find(spread(string.sub(former, 1, KEY)))
    if not value or (content_of(value) ~= content and not is_same(value, rest)) then return end
  end
  value = own_id(value) .. content_of(rest) .. string.sub(value, MAIL_ID + CONTENT + 1)
  local number, field = spread(key)
  if slot then return value, keep(slot, number, field, value) end
  redis.call('HSET', name, field, value)
  return value, name
end

local function claim_one(key, rest, former)
  local number, field = spread(key)
  local value, name = find(number, field)
  if former ~= '' then value, name = renew(value, name, key, rest, former) end
  local own = own_id(rest)
  if not value then
    keep(now_slot, number, field, rest)
    return 'N' .. own
  end
  local is_own, place = own_id(value) == own, place_of(value)
  local is_cancelled = place ~= NO_PLACE and mark_of(value) == CANCELLED
  if place == NO_PLACE and is_own and waiting(value) == 0 then
    redis.call('HSET', name, field, rest .. CANCELLED)
    return 'W' .. own
  elseif place == NO_PLACE or (is_cancelled and not is_own) then
    redis.call('HSET', name, field, rest)
  elseif place ~= place_of(rest) then
    return judged(value, rest)
  elseif is_cancelled then
    return 'W' .. own
  end
  return 'N' .. own
end

local function reserve_one(key, rest)
  local number, field = spread(key)
  local value, name = find(number, field)
  if not value then
    keep(now_slot, number, field, rest .. NO_PLACE)
    return 'N' .. own_id(rest)
  end
  local is_reserved = place_of(value) == NO_PLACE
  if not is_reserved and mark_of(value) ~= CANCELLED then return judged(value, rest) end
  if is_reserved and is_same(value, rest) then
    keep_waiting(name, field, value, waiting(value) + 1)
    return 'R' .. own_id(value)
  end
  redis.call('HSET', name, field, rest .. NO_PLACE)
  return 'N' .. own_id(rest)
end

local function withdraw_one(key, rest)
  local number, field = spread(key)
  local value, name = find(number, field)
  if not value then
    keep(now_slot, number, field, rest .. NO_PLACE .. '\0')
  elseif place_of(value) ~= NO_PLACE then
    if mark_of(value) ~= CANCELLED and is_same(value, rest) then return judged(value, rest) end
  elseif own_id(value) == own_id(rest) and waiting(value) < MANY then
    keep_waiting(name, field, value, math.max(waiting(value) - 1, 0))
  end
  return 'N' .. own_id(rest)
end

local function restore_one(slot, key, rest)
  local number, field = spread(key)
  open_slot(slot)
  local value = redis.call('HGET', name_of(slot, number), field)
  if not value or place_of(value) == NO_PLACE then keep(slot, number, field, rest) end
  return ''
end

if verb == 'begin' then
  if whole then return 0 end
  if not redis.call('SET', KEYS[2], ARGV[5], 'NX', 'PX', LOCK_MS) then return -1 end
  if found_log and found_log ~= log then redis.call('DEL', state) end
  redis.call('HDEL', state, 'generation')
  return 1
end

if verb == 'restore' or verb == 'finish' then
  if redis.call('GET', KEYS[2]) ~= ARGV[5] then return 0 end
  if verb == 'finish' then
    redis.call('HSET', state, 'log', log, 'generation', ARGV[5])
    redis.call('HSET', state, 'window', window, 'buckets', new_buckets)
    redis.call('DEL', KEYS[2])
    return 1
  end
  redis.call('PEXPIRE', KEYS[2], LOCK_MS)
  local slot = math.floor(tonumber(ARGV[6]) / SLOT_S)
  if slot >= now_slot - reach then
    slot = math.min(slot, now_slot)
    each(ARGV[7], FULL, function(key, rest) return restore_one(slot, key, rest) end)
  end
  return 1
end

if not whole then return {0, ''} end
load_slots()
if is_door then
  local one = verb == 'reserve' and reserve_one or withdraw_one
  return {1, generation, each(ARGV[5], KEY + MAIL_ID + CONTENT, one)}
end

if ARGV[5] ~= '' and ARGV[5] ~= generation then return {2, generation} end
if ARGV[5] ~= '' then
  for partition, offset in string.gmatch(ARGV[6], '(%d+):(%d+)') do
    local seen = redis.call('HGET', state, 'seen:' .. partition)
    if not seen or tonumber(seen) < tonumber(offset) then
      -- This server has lost a write: a replica took over that did not have it.
      redis.call('HDEL', state, 'generation')
      return {0, ''}
    end
  end
end
if had_window ~= window or had_buckets ~= new_buckets then
  redis.call('HSET', state, 'window', window, 'buckets', new_buckets)
end
local answers = each(ARGV[8], FULL, function(key, rest, index)
  return claim_one(key, rest, string.sub(ARGV[9], index * FORMER + 1, (index + 1) * FORMER))
end)
for partition, offset in string.gmatch(ARGV[7], '(%d+):(%d+)') do
  local seen = redis.call('HGET', state, 'seen:' .. partition)
  if not seen or tonumber(seen) < tonumber(offset) then
    redis.call('HSET', state, 'seen:' .. partition, offset)
  end
end
return {1, generation, answers}
