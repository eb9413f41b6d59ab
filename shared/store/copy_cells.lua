-- Copies the cells of months, so that they can be read in pieces while counting continues.
--
-- Keys       as in apply_cells.lua.
-- Arguments  name of the copies, seconds after which they expire, months (YYYY-MM).
-- Result     {whole, state, copied, server}: whole and state as in read_cells.lua; copied, the months
--            whose cells can be read from the key `<state>:copy:<name>:<month>`; server, the run_id
--            of the server (INFO), or "" if the user may not read it.
-- Atomic guarantee
--   The copies count exactly the records below the watermarks returned with them. The counts
--   themselves are not changed.

local state, wanted = KEYS[1], {}
for i = 3, #ARGV do wanted[ARGV[i]] = true end
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
local copied = {}
if whole == 1 then
  for month in pairs(months) do
    local copy = state .. ':copy:' .. ARGV[1] .. ':' .. month
    if wanted[month] and redis.call('COPY', state .. ':' .. month, copy, 'REPLACE') == 1 then
      redis.call('EXPIRE', copy, ARGV[2])
      copied[#copied + 1] = month
    end
  end
end
local info = redis.pcall('INFO', 'server')
local server = type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
return {whole, flat, copied, server}
