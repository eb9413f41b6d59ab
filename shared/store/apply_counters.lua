-- Stores the bounce counters after a run of records, together with the place in the log.
--
-- Keys       KEYS[1]  the counters, one hash: `log` the ids of the topics, `place` the offsets up
--            to which their records are counted, and for each recipient a field (a name of 16
--            bytes) with the counter; shared/store/counters.py describes `incidents` and `rules`.
--            All data is in one key, so that it is lost as a whole or not at all.
-- Arguments  1 log, 2 the place that the caller expects ("" for none), 3 the place to set, then
--            pairs of field and counter; an empty counter is deleted.
-- Result     1 if the counters were stored; 0 if nothing was stored, because the stored place or log
--            is not the expected one.
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
