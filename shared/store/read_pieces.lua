-- Reads billing cells in pieces while counting continues. All pieces have the counts of one moment,
-- although no cells are copied: when apply_cells.lua changes a cell for the first time after that
-- moment, it keeps the earlier value.
--
-- Keys
--   KEYS[1]  the state, as in apply_cells.lua.
--   KEYS[1]:readings  a hash with the name of each reading that is open.
--   KEYS[1]:reading:<name>  a hash that expires: `generation`; `server`, the run_id of the server
--            (INFO), or "" if the user may not read it; for each month that is read,
--            `version:<month>`, the version at the moment, and `runs:<month>`, the number of later
--            runs that kept cells; `<month><cell>`, the count of a cell at the moment, or "" if
--            the cell did not exist.
-- Arguments
--   "open", name, seconds after which the reading expires unless a piece is read, the most
--           readings that may be open at a time, a reading that ends now, so that nothing more is
--           kept for it ("": none), months (YYYY-MM); or
--   "piece", name, month, cursor ("0" at first), approximate cells per piece, seconds as above; or
--   "changes", name, month, cursor, cells, seconds, the reading that `open` of this one ended; or
--   "close", name.
-- Result
--   open: {whole, state, months}: whole and state as in read_cells.lua; months, a flat list of
--         months with cells and the number of their cells; {-1} if too many readings are open.
--   piece: {cursor, cells}: the next cursor ("0" after the last piece) and a flat list of cells and
--         counts ("" for a cell that was added later); {"lost"} if the counts or the reading no
--         longer exist, or if another server answers (a restart, a replica), because its cells are
--         in another order; {"changed"} after the last piece if a script changed the month without
--         keeping earlier values.
--   changes: {cursor, cells, fields, all}: cells, a flat list of the cells that changed between the
--         two moments, each with its counts at the first moment ("" if it did not exist) and at the
--         second; fields, the number of fields of the ended reading in this piece; all, the number
--         of all its fields; {"lost"} and {"changed"} as above.
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

-- Return true if the counts of the month still have the generation with which the reading began.
local function is_there(month, reading)
  local generation = redis.call('HGET', reading, 'generation')
  return generation and redis.call('HGET', state .. ':' .. month, 'generation') == generation
    and redis.call('HGET', state, 'generation') == generation
end

-- Return true if every run since the moment of the reading has kept the earlier values.
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
-- The command may be sent twice; the reading then has the moment of the second command. Nothing was
-- kept for the runs between the two commands, and `changes` detects this.
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
