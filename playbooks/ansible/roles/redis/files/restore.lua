-- ARGV: what backup.lua returned, and the newline redis-cli put behind it. Returns how many keys came back.
if string.sub(ARGV[1], 1, 10) ~= 'opsascode1' then
  return redis.error_reply('ERR this is not a backup of keys')
end
local now = redis.call('TIME')
local milliseconds = now[1] * 1000 + math.floor(now[2] / 1000)
local restored = 0
for _, saved in ipairs(cmsgpack.unpack(string.sub(ARGV[1], 11, -2))) do
  local key, ends, dump = saved[1], saved[2], saved[3]
  if ends == '0' or tonumber(ends) > milliseconds then
    redis.call('RESTORE', key, ends, dump, 'REPLACE', 'ABSTTL')
    restored = restored + 1
  end
end
return restored
