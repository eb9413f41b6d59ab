-- Applies records of mail.suppressions to the view of suppressed recipients, each at most once.
--
-- Keys       KEYS[1]  the view, one hash: `log` the id of the topic, `watermark` the offset up to
--            which its records are applied, and by field (16 bytes) the bits of its reasons as one
--            character, 64 + bits. One key, so that it is lost as a whole or not at all.
-- Arguments  1 log, 2 the watermark that the caller expects (-1: none), 3 the watermark to set,
--            4 entries of 18 bytes: field, 64 + bit, and "+" to set the bit or "-" to clear it.
-- Result     {1, watermark}  applied.
--            {0, watermark}  nothing was applied, because this (-1: none) is the stored watermark.
--            {-2, log}       nothing was applied, because the view is that of this other log.
-- Atomic guarantee
--   Entries and watermark change together or not at all, in the order of the topic.

local view, log, expected, target, entries = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local stored_log = redis.call('HGET', view, 'log')
if stored_log and stored_log ~= log then return {-2, stored_log} end
local stored = redis.call('HGET', view, 'watermark') or '-1'
if stored ~= expected then return {0, stored} end

for at = 1, #entries, 18 do
  local field = string.sub(entries, at, at + 15)
  local bit_ = string.byte(entries, at + 16) - 64
  local found = redis.call('HGET', view, field)
  local bits = found and string.byte(found) - 64 or 0
  if string.sub(entries, at + 17, at + 17) == '+' then
    bits = bit.bor(bits, bit_)
  else
    bits = bit.band(bits, bit.bnot(bit_))
  end
  if bits == 0 then
    redis.call('HDEL', view, field)
  else
    redis.call('HSET', view, field, string.char(64 + bits))
  end
end
if not stored_log or target ~= stored then
  redis.call('HSET', view, 'log', log, 'watermark', target)
end
return {1, target}
