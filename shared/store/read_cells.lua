-- Reads billing cells with the watermarks up to which they are counted.
--
-- Keys       as in apply_cells.lua.
-- Arguments  months (YYYY-MM); "*" for all months; no arguments for the state without cells.
-- Result     {whole, state, cells}: whole is 1 if no part of the state is lost, else 0; state is a
--            flat list of fields and values; cells is a flat list of months, each followed by a flat
--            list of its cells and counts. If the state is incomplete, there are no cells.
-- Atomic guarantee
--   The cells count exactly the records below the watermarks returned with them. The script
--   writes nothing.

local state, wanted = KEYS[1], {}
for i = 1, #ARGV do wanted[ARGV[i]] = true end
local flat = redis.call('HGETALL', state)
local generation, months = nil, {}
for i = 1, #flat, 2 do
  if flat[i] == 'generation' then generation = flat[i + 1] end
  local month = string.match(flat[i], '^month:(.+)$')
  if month then months[month] = true end
end
local whole = 1
if #flat > 0 and flat[1] ~= 'dropped' and not generation then whole = 0 end
for month in pairs(months) do
  if redis.call('HGET', state .. ':' .. month, 'generation') ~= generation then whole = 0 end
end
local cells = {}
if whole == 1 then
  for month in pairs(months) do
    if wanted['*'] or wanted[month] then
      cells[#cells + 1] = month
      cells[#cells + 1] = redis.call('HGETALL', state .. ':' .. month)
    end
  end
end
return {whole, flat, cells}
