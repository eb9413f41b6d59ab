-- Makes the billing cells of a checkpoint the live cells, if there are no live cells.
--
-- Keys
--   KEYS[1]  the state, as in apply_cells.lua; then a pair of keys for each month: its live cells,
--            and the hash that has the cells of the checkpoint and the new generation.
-- Arguments  field and value, for each field of the state.
-- Result     1 if the cells of the checkpoint are now live; 0 if nothing was changed, because there
--            are other counts.
-- Atomic guarantee
--   Either the whole checkpoint is restored, or nothing changes.

local state = KEYS[1]
local found = redis.call('EXISTS', state) == 1
for i = 2, #KEYS, 2 do
  if found then
    redis.call('UNLINK', KEYS[i + 1])
  elseif redis.call('EXISTS', KEYS[i + 1]) == 0 then
    return redis.error_reply('a month of the checkpoint is gone')
  end
end
if found then return 0 end
for i = 2, #KEYS, 2 do
  redis.call('UNLINK', KEYS[i])
  redis.call('RENAME', KEYS[i + 1], KEYS[i])
  redis.call('PERSIST', KEYS[i])
end
redis.call('HSET', state, unpack(ARGV))
return 1
