-- Has the billing cells go on with another log than the one they were counted from.
--
-- Keys       as in apply_cells.lua.
-- Arguments  1 the id of the new log, 2 the month (YYYY-MM) of now, then the partitions of the new log.
-- Result     the id of the log before; "" when there are no cells: nothing was done.
-- Atomic promise
--   The counts stay as they are. The watermarks of the old log are gone, so that the new one is
--   counted from its beginning, and each partition has a hole up to this month: what the old log
--   held and nobody had counted is missing.

local state, log, month = KEYS[1], ARGV[1], ARGV[2]
local before = redis.call('HGET', state, 'log')
if not before then return '' end
if before == log then return before end
for _, name in ipairs(redis.call('HKEYS', state)) do
  if string.match(name, '^watermark:') or string.match(name, '^hole:') then
    redis.call('HDEL', state, name)
  end
end
redis.call('HSET', state, 'log', log)
for i = 3, #ARGV do redis.call('HSET', state, 'hole:' .. ARGV[i], month) end
return before
