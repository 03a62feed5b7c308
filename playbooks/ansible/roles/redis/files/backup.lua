-- ARGV: pattern, most keys. Returns one value that restore.lua reads: every matching key with its dump and the moment
-- it runs out, in milliseconds since 1970 (0: never).
local saved, cursor = {}, '0'
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
repeat
  local page = redis.call('SCAN', cursor, 'MATCH', ARGV[1], 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local left = redis.call('PTTL', key)
    saved[#saved + 1] = { key, left < 0 and '0' or string.format('%.0f', milliseconds + left), redis.call('DUMP', key) }
  end
  if #saved > tonumber(ARGV[2]) then
    return redis.error_reply('ERR more than ' .. ARGV[2] .. ' keys match ' .. ARGV[1])
  end
until cursor == '0'
return 'opsascode1' .. cmsgpack.pack(saved)
