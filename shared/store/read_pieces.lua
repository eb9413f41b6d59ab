-- Reads billing cells in pieces, all of one moment, while counting goes on. Nothing is copied:
-- apply_cells.lua keeps what a cell was before its first change since that moment.
--
-- Keys
--   KEYS[1]  the state, as in apply_cells.lua.
--   KEYS[1]:readings  a hash with the name of each reading that is open.
--   KEYS[1]:reading:<name>  a hash: `generation`; `server`, the run_id of the server (INFO), "" if
--            the user may not read it; for each month that is read `version:<month>`, its version
--            at the moment, and `runs:<month>`, how many runs have kept cells since; <month><cell>
--            what the cell was at the moment, "" if it was not there. It expires.
-- Arguments
--   "open", name, seconds after which the reading ends by itself unless a piece is read, readers
--           that may be open at a time, months (YYYY-MM); or
--   "piece", name, month, cursor ("0" at first), cells of a piece, roughly, seconds as above; or
--   "close", name.
-- Result
--   open: {whole, state, months}: as in read_cells.lua, and a flat list of each month that has
--         cells and their number; {-1} if as many readers as may be are open.
--   piece: {cursor, cells}: the next cursor ("0" after the last piece) and a flat list of cell and
--         count, "" for a cell that came later; {"lost"} if the counts or the reading are gone, or
--         another server answers, which has the cells in another order (a restart, a replica);
--         {"changed"} after the last piece if a script that keeps nothing has changed the month.
-- Atomic guarantee
--   The pieces of all months together have exactly the counts below the watermarks that `open`
--   returned. The counts themselves are not changed.

local state, verb, name = KEYS[1], ARGV[1], ARGV[2]
local readings, kept = state .. ':readings', state .. ':reading:' .. name

local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%w+)') or ''
end

if verb == 'close' then
  redis.call('UNLINK', kept)
  redis.call('HDEL', readings, name)
  return {}
end

if verb == 'piece' then
  local month, cells = ARGV[3], state .. ':' .. ARGV[3]
  local generation = redis.call('HGET', kept, 'generation')
  if not generation or redis.call('HGET', cells, 'generation') ~= generation
      or redis.call('HGET', state, 'generation') ~= generation
      or redis.call('HGET', kept, 'server') ~= server() then
    return {'lost'}
  end
  redis.call('EXPIRE', kept, ARGV[6])
  redis.call('EXPIRE', readings, ARGV[6])
  local found = redis.call('HSCAN', cells, ARGV[4], 'COUNT', ARGV[5])
  local flat, runs = found[2], tonumber(redis.call('HGET', kept, 'runs:' .. month))
  if runs > 0 then
    for i = 1, #flat, 2 do
      local before = redis.call('HGET', kept, month .. flat[i])
      if before then flat[i + 1] = before end
    end
  end
  if found[1] == '0' then
    local version = tonumber(redis.call('HGET', state, 'month:' .. month) or '0')
    if version - tonumber(redis.call('HGET', kept, 'version:' .. month)) ~= runs then
      return {'changed'}
    end
  end
  return {found[1], flat}
end

local wanted = {}
for i = 5, #ARGV do wanted[ARGV[i]] = true end
local flat = redis.call('HGETALL', state)
local generation, versions = nil, {}
for i = 1, #flat, 2 do
  if flat[i] == 'generation' then generation = flat[i + 1] end
  local month = string.match(flat[i], '^month:(.+)$')
  if month then versions[month] = flat[i + 1] end
end
local whole = 1
if #flat > 0 and flat[1] ~= 'dropped' and not generation then whole = 0 end
for month in pairs(versions) do
  if redis.call('HGET', state .. ':' .. month, 'generation') ~= generation then whole = 0 end
end
-- The command may be sent twice: only the last moment counts.
redis.call('UNLINK', kept)
local found = {}
if whole == 1 then
  for month, version in pairs(versions) do
    if wanted[month] then
      redis.call('HSET', kept, 'version:' .. month, version, 'runs:' .. month, '0')
      found[#found + 1] = month
      found[#found + 1] = redis.call('HLEN', state .. ':' .. month)
    end
  end
end
if #found > 0 then
  local open = redis.call('HKEYS', readings)
  for _, other in ipairs(open) do
    if redis.call('EXISTS', state .. ':reading:' .. other) == 0 then
      redis.call('HDEL', readings, other)
    end
  end
  if redis.call('HLEN', readings) >= tonumber(ARGV[4]) then
    redis.call('UNLINK', kept)
    return {-1}
  end
  redis.call('HSET', kept, 'generation', generation, 'server', server())
  redis.call('EXPIRE', kept, ARGV[3])
  redis.call('HSET', readings, name, '1')
  redis.call('EXPIRE', readings, ARGV[3])
end
return {whole, flat, found}
