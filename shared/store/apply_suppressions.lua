-- Applies records of mail.suppressions to the view of suppressed recipients, each at most once.
--
-- Keys       KEYS[1]  the view, one hash: `log` the id of the topic, `watermark` the offset up to
--            which its records are applied, and for each recipient a field (a name of 16 bytes) with
--            the bits of the reasons as one character, 64 + bits. All data is in one key, so that it
--            is lost as a whole or not at all.
-- Arguments  1 log, 2 the watermark that the caller expects (-1: none), 3 the watermark to set,
--            4 entries of 18 bytes: field, 64 + bit, and "+" to set the bit or "-" to clear it.
-- Result     {1, watermark}  applied.
--            {0, watermark}  nothing was applied, because the stored watermark, which is returned
--                            (-1: none), is not the expected one.
--            {-2, log}       nothing was applied, because the view is from another log, which is
--                            returned.
-- Atomic guarantee
--   Entries and watermark change together or not at all. They are applied in the order of the topic.

local view, log, expected, target, entries = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stored_log = redis.call('HGET', view, 'log')
if stored_log and stored_log ~= log then return {-2, stored_log} end
local stored = redis.call('HGET', view, 'watermark') or '-1'
if stored ~= expected then return {0, stored} end

-- One command reads or writes many fields, because a command costs more than a field. Lua's stack
-- holds 8,000 arguments.
local MOST = 1000 * 18

local function apply(from, to)
  local fields = {}
  for at = from, to, 18 do fields[#fields + 1] = string.sub(entries, at, at + 15) end
  local found, bits = redis.call('HMGET', view, unpack(fields)), {}
  for i, field in ipairs(fields) do
    -- An earlier entry of this part may have changed the field.
    local before = bits[field] or (found[i] and string.byte(found[i]) - 64) or 0
    local bit_, sign = string.byte(entries, from + i * 18 - 2, from + i * 18 - 1)
    if sign == 43 then -- "+"
      bits[field] = bit.bor(before, bit_ - 64)
    else
      bits[field] = bit.band(before, bit.bnot(bit_ - 64))
    end
  end
  local set, cleared = {}, {}
  for field, each in pairs(bits) do
    if each == 0 then
      cleared[#cleared + 1] = field
    else
      set[#set + 1] = field
      set[#set + 1] = string.char(64 + each)
    end
  end
  if #set > 0 then redis.call('HSET', view, unpack(set)) end
  if #cleared > 0 then redis.call('HDEL', view, unpack(cleared)) end
end

for from = 1, #entries, MOST do apply(from, math.min(from + MOST - 1, #entries)) end
if not stored_log or target ~= stored then
  redis.call('HSET', view, 'log', log, 'watermark', target)
end
return {1, target}
