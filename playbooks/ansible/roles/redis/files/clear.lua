-- ARGV: pattern. Removes the matching keys and returns how many there were.
local removed, cursor = 0, '0'
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = page[1]
  if #page[2] > 0 then
    removed = removed + redis.call('UNLINK', unpack(page[2]))
  end
until cursor == '0'
return removed
