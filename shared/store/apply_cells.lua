-- Adds the counts of one run of records to the billing cells, at most once.
--
-- Keys
--   KEYS[1]  the state, a hash: `generation` a token created by the first run; `log` the id of
--            the counted topic; `watermark:<partition>` the next offset expected;
--            `hole:<partition>` the last month from which records are known to be missing;
--            `month:<YYYY-MM>` for each month with cells, the number of runs that changed the month;
--            `dropped`, as the only field, if an operator dropped the counts: the log is then
--            counted from its beginning, and no checkpoint is restored.
--   KEYS[1]:<YYYY-MM>  the cells of a month, a hash: cell -> count, and `generation`.
--            KEYS[1] must contain a {hash tag}, so that all keys are in one slot.
--   KEYS[1]:readings, KEYS[1]:reading:<name>  the open readings of cells in pieces
--            (read_pieces.lua): before a cell changes, its value is copied to each reading.
-- Arguments
--   1 log, 2 partition, 3 the watermark that the caller expects (-1: none), 4 the watermark to set,
--   5 a new token, 6 hole (YYYY-MM or ""), then triples: month, cell, increment.
-- Result
--   {1, watermark}  applied.
--   {0, watermark}  nothing was applied, because the stored watermark, which is returned (-1: none),
--                   is not the expected one.
--   {-1, "-1"}      nothing was applied, because a part of the stored data was lost; all stored
--                   data has been dropped.
--   {-2, log}       nothing was applied, because the stored cells were counted from another log,
--                   which is returned. Nothing was dropped either, because these cells may be the
--                   only remains of the other log.
-- Atomic guarantee
--   The increments and the watermark change together or not at all. Nothing is ever added to
--   incomplete cells (a month's hash was evicted or deleted, or a lost state left cells behind).

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
  -- A run without increments must notice a server that accepts no writes (it is full or a replica).
  -- Such a server refuses this command; any other server changes nothing, because the field exists.
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
