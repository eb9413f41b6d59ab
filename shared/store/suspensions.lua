-- Shares the suspensions and slow-downs of all workers: stores one state and returns all states.
--
-- Keys       1 the states (hash: key to JSON).
-- Arguments  1 the key to write, "" for none; 2 its state as JSON; 3 the end of its suspension;
--            4 "1" if it may replace a longer suspension; 5 how long states are kept, in s;
--            6 the highest number of states that are kept.
-- Result     all states as JSON.
-- Atomic guarantee
--   A suspension is not replaced by one that ends earlier, unless argument 4 says so.

local states, key = KEYS[1], ARGV[1]
if key ~= '' then
  local known = redis.call('HGET', states, key)
  local ends = known and cjson.decode(known)['until'] or 0
  local is_room = known or redis.call('HLEN', states) < tonumber(ARGV[6])
  if is_room and (ARGV[4] == '1' or ends <= tonumber(ARGV[3])) then
    redis.call('HSET', states, key, ARGV[2])
  end
end
redis.call('EXPIRE', states, tonumber(ARGV[5]))
return redis.call('HVALS', states)
