-- Adds the counts of one run of records to the billing cells, at most once.
--
-- Keys
--   KEYS[1]  the state, a hash: `generation` a token created when it was empty; `log` the id of
--            the counted topic; `watermark:<partition>` the next offset expected;
--            `hole:<partition>` the last month from which records are known to be missing;
--            `month:<YYYY-MM>` for each month that has cells: how many runs have changed it;
--            `dropped`, alone, if an operator dropped the counts: they are then counted from the
--            beginning of the log and not restored from a checkpoint.
--   KEYS[1]:<YYYY-MM>  the cells of a month, a hash: cell -> count, and `generation`.
--            KEYS[1] must contain a {hash tag}, so that all keys are in one slot.
--   KEYS[1]:readings, KEYS[1]:reading:<name>  the readers of cells in pieces (read_pieces.lua):
--            the value of a cell is kept for them before it changes.
-- Arguments
--   1 log, 2 partition, 3 the watermark the caller expects (-1: none), 4 the watermark to set,
--   5 a new token, 6 hole (YYYY-MM or ""), then triples: month, cell, increment.
-- Result
--   {1, watermark}  applied.
--   {0, watermark}  nothing was applied, because this (-1: none) is the stored watermark.
--   {-1, "-1"}      nothing was applied, because a part of the stored data was lost; all of it
--                   has been dropped.
--   {-2, log}       nothing was applied and nothing dropped, because the stored cells were counted
--                   from this other log: its records may no longer exist anywhere else.
-- Atomic guarantee
--   The increments and the watermark change together or not at all. Nothing is ever added to
--   incomplete cells (a month's hash evicted or deleted, remains of a lost state).

local state = KEYS[1]
local log, partition, expected, target = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local token, hole = ARGV[5], ARGV[6]

local fields, months, empty, changed = {}, {}, true, {}
local flat = redis.call('HGETALL', state)
for i = 1, #flat, 2 do
  fields[flat[i]] = flat[i + 1]
  if flat[i] ~= 'dropped' then empty = false end
  local month = string.match(flat[i], '^month:(.+)$')
  if month then months[#months + 1] = month end
end

if fields['log'] and fields['log'] ~= log then return {-2, fields['log']} end
local whole = empty or (fields['log'] ~= nil and fields['generation'] ~= nil)
for _, month in ipairs(months) do
  if redis.call('HGET', state .. ':' .. month, 'generation') ~= fields['generation'] then
    whole = false
  end
end
if not whole then
  for _, month in ipairs(months) do redis.call('UNLINK', state .. ':' .. month) end
  redis.call('UNLINK', state)
  return {-1, '-1'}
end

local stored = fields['watermark:' .. partition] or '-1'
if stored ~= expected then return {0, stored} end

if empty then
  redis.call('HSET', state, 'generation', token, 'log', log)
  redis.call('HDEL', state, 'dropped')
  fields['generation'] = token
elseif #ARGV < 7 then
  -- Refused if the server takes no writes (full, a replica), so that an empty run notices it;
  -- otherwise nothing changes, because the field exists.
  redis.call('HSETNX', state, 'log', log)
end
local keeping = {}
for _, name in ipairs(redis.call('HKEYS', state .. ':readings')) do
  local kept = state .. ':reading:' .. name
  if redis.call('HGET', kept, 'generation') == fields['generation'] then
    keeping[#keeping + 1] = kept
  else
    redis.call('HDEL', state .. ':readings', name)
  end
end
for i = 7, #ARGV, 3 do
  local month, key = ARGV[i], state .. ':' .. ARGV[i]
  if not fields['month:' .. month] then
    redis.call('UNLINK', key)
    redis.call('HSET', key, 'generation', fields['generation'])
    fields['month:' .. month] = '1'
  end
  if not changed[month] then
    redis.call('HINCRBY', state, 'month:' .. month, 1)
    changed[month] = {}
    for _, kept in ipairs(keeping) do
      if redis.call('HEXISTS', kept, 'version:' .. month) == 1 then
        redis.call('HINCRBY', kept, 'runs:' .. month, 1)
        table.insert(changed[month], kept)
      end
    end
  end
  for _, kept in ipairs(changed[month]) do
    redis.call('HSETNX', kept, month .. ARGV[i + 1], redis.call('HGET', key, ARGV[i + 1]) or '')
  end
  redis.call('HINCRBY', key, ARGV[i + 1], ARGV[i + 2])
end
if target ~= stored then redis.call('HSET', state, 'watermark:' .. partition, target) end
if hole > (fields['hole:' .. partition] or '') then
  redis.call('HSET', state, 'hole:' .. partition, hole)
end
return {1, target}
