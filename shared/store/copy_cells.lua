-- Copies the cells of one month, to be read in pieces while counting goes on.
--
-- Keys       as in apply_cells.lua.
-- Arguments  month (YYYY-MM), name of the copy, seconds after which it goes by itself.
-- Result     {whole, state, copied}: as in read_cells.lua, and 1 if there are cells to read from
--            the key `<state>:copy:<name>`, else 0.
-- Atomic guarantee
--   The copy counts exactly the records below the watermarks returned with it. The counts
--   themselves are not changed.

local state, month = KEYS[1], ARGV[1]
local flat = redis.call('HGETALL', state)
local generation, months = nil, {}
for i = 1, #flat, 2 do
  if flat[i] == 'generation' then generation = flat[i + 1] end
  local found = string.match(flat[i], '^month:(.+)$')
  if found then months[found] = true end
end
local whole = 1
if #flat > 0 and flat[1] ~= 'dropped' and not generation then whole = 0 end
for found in pairs(months) do
  if redis.call('HGET', state .. ':' .. found, 'generation') ~= generation then whole = 0 end
end
local copied = 0
if whole == 1 and months[month] then
  local copy = state .. ':copy:' .. ARGV[2]
  copied = redis.call('COPY', state .. ':' .. month, copy, 'REPLACE')
  redis.call('EXPIRE', copy, ARGV[3])
end
return {whole, flat, copied}
