-- Stores the bounce counters after a run of records, together with its place in the log.
--
-- Keys       KEYS[1]  the counters, one hash: `log` the ids of the topics, `place` the offsets up
--            to which their records are counted, and by field (16 bytes) the counter of a
--            recipient; `incidents` and `rules` are described in shared/store/counters.py. One
--            key, so that it is lost as a whole or not at all.
-- Arguments  1 log, 2 the place that the caller expects ("" for none), 3 the place to set, then
--            pairs of field and counter; an empty counter is deleted.
-- Result     1 applied; 0 nothing was applied, because another place or log is stored.
-- Atomic guarantee
--   The counters and the place change together or not at all.

local key, log, expected = KEYS[1], ARGV[1], ARGV[2]
if (redis.call('HGET', key, 'place') or '') ~= expected then return 0 end
local stored = redis.call('HGET', key, 'log')
if stored and stored ~= log then return 0 end
redis.call('HSET', key, 'log', log, 'place', ARGV[3])
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', key, ARGV[i])
  else
    redis.call('HSET', key, ARGV[i], ARGV[i + 1])
  end
end
return 1
