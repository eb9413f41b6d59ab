-- Makes the billing cells continue with a log other than the one they were counted from.
--
-- Keys       as in apply_cells.lua.
-- Arguments  1 the id of the new log, 2 the present month (YYYY-MM), then the partitions of the new log.
-- Result     the id of the previous log; "" if there are no cells, in which case nothing is done.
-- Atomic guarantee
--   The counts do not change. The watermarks of the old log are deleted, so that the new log is
--   counted from its beginning. Each partition gets a hole up to the present month, because records
--   of the old log that were not counted are missing.

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
