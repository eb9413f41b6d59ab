-- Reads billing cells in pieces, all of one moment, while counting continues. Nothing is copied:
-- apply_cells.lua keeps the value of a cell before its first change since that moment.
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
--           that may be open at a time, a reading for which nothing more is kept from this moment
--           on ("": none), months (YYYY-MM); or
--   "piece", name, month, cursor ("0" at first), cells of a piece, roughly, seconds as above; or
--   "changes", name, month, cursor, cells, seconds, the reading that the other one ended; or
--   "close", name.
-- Result
--   open: {whole, state, months}: as in read_cells.lua, and a flat list of each month that has
--         cells and their number; {-1} if as many readers as may be are open.
--   piece: {cursor, cells}: the next cursor ("0" after the last piece) and a flat list of cell and
--         count, "" for a cell that came later; {"lost"} if the counts or the reading are gone, or
--         another server answers, which has the cells in another order (a restart, a replica);
--         {"changed"} after the last piece if a script that keeps nothing has changed the month.
--   changes: {cursor, cells, fields, all}: a flat list of cells that have changed between the two
--         moments, each with its count at the first one ("" if it was not there) and at the second
--         one; how many fields of the ended reading this piece has, and how many there are in all;
--         {"lost"} and {"changed"} as above.
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

-- Whether the counts of the month are still those that the reading began with.
local function is_there(month, reading)
  local generation = redis.call('HGET', reading, 'generation')
  return generation and redis.call('HGET', state .. ':' .. month, 'generation') == generation
    and redis.call('HGET', state, 'generation') == generation
end

-- Whether every run since the moment of the reading has kept what it changed.
local function has_kept_all(month, reading, version)
  local found = redis.call('HMGET', reading, 'version:' .. month, 'runs:' .. month)
  return found[1] and tonumber(version or '0') - tonumber(found[1]) == tonumber(found[2])
end

local function version_now(month)
  return redis.call('HGET', state, 'month:' .. month)
end

local function go_on(seconds)
  redis.call('EXPIRE', kept, seconds)
  redis.call('EXPIRE', readings, seconds)
end

if verb == 'piece' then
  local month, cells = ARGV[3], state .. ':' .. ARGV[3]
  if not is_there(month, kept) or redis.call('HGET', kept, 'server') ~= server() then
    return {'lost'}
  end
  go_on(ARGV[6])
  local found = redis.call('HSCAN', cells, ARGV[4], 'COUNT', ARGV[5])
  local flat = found[2]
  if redis.call('HGET', kept, 'runs:' .. month) ~= '0' then
    for i = 1, #flat, 2 do
      local before = redis.call('HGET', kept, month .. flat[i])
      if before then flat[i + 1] = before end
    end
  end
  if found[1] == '0' and not has_kept_all(month, kept, version_now(month)) then
    return {'changed'}
  end
  return {found[1], flat}
end

if verb == 'changes' then
  local month, cells = ARGV[3], state .. ':' .. ARGV[3]
  local ended = state .. ':reading:' .. ARGV[7]
  if not is_there(month, kept) or not is_there(month, ended)
      or redis.call('HGET', kept, 'server') ~= server() then
    return {'lost'}
  end
  go_on(ARGV[6])
  redis.call('EXPIRE', ended, ARGV[6])
  local found = redis.call('HSCAN', ended, ARGV[4], 'COUNT', ARGV[5])
  local flat, changed = found[2], {}
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, #month) == month then
      local now = redis.call('HGET', kept, flat[i])
      local cell = string.sub(flat[i], #month + 1)
      changed[#changed + 1] = cell
      changed[#changed + 1] = flat[i + 1]
      changed[#changed + 1] = now or redis.call('HGET', cells, cell) or ''
    end
  end
  if found[1] == '0' then
    local between = redis.call('HGET', kept, 'version:' .. month)
    if not has_kept_all(month, ended, between)
        or not has_kept_all(month, kept, version_now(month)) then
      return {'changed'}
    end
  end
  return {found[1], changed, #flat / 2, redis.call('HLEN', ended)}
end

local wanted = {}
for i = 6, #ARGV do wanted[ARGV[i]] = true end
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
-- The command may be sent twice: then only the last moment counts. Nothing is kept for the runs
-- between the two moments, which `changes` notices.
redis.call('UNLINK', kept)
if ARGV[5] ~= '' then redis.call('HDEL', readings, ARGV[5]) end
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
