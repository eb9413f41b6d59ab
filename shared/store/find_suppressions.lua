-- Looks up fields in the view of suppressed recipients.
--
-- Keys       as in apply_suppressions.lua.
-- Arguments  1 log, 2 the lowest watermark that the view must have, 3 fields of 16 bytes, one after
--            the other.
-- Result     {watermark, answers}: answers has one character per field, 64 + the bits of its reasons.
--            There are no answers if the view is from another log (watermark -2), is missing (-1)
--            or has a lower watermark.
-- Atomic guarantee
--   The answers are those of the view at this watermark. The script writes nothing.

local view, log, least, fields = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]
local state = redis.call('HMGET', view, 'log', 'watermark')
if not state[1] or not state[2] then return {-1, ''} end
if state[1] ~= log then return {-2, ''} end
local watermark = tonumber(state[2])
if watermark < least then return {watermark, ''} end

local answers, chunk = {}, {}
local function ask()
  local found = redis.call('HMGET', view, unpack(chunk))
  for i = 1, #chunk do answers[#answers + 1] = found[i] or '@' end
  chunk = {}
end
for at = 1, #fields, 16 do
  chunk[#chunk + 1] = string.sub(fields, at, at + 15)
  if #chunk == 1000 then ask() end
end
if #chunk > 0 then ask() end
return {watermark, table.concat(answers)}
