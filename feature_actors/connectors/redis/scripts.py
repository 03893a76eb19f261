"""The Lua scripts by which the rows of entities are written: each checks the claim first."""

from __future__ import annotations

import hashlib


class Script:
    """A Lua script and the SHA-1 hash by which Redis calls it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# A claim is a Redis hash with the fields 'epoch' and 'offset:TOPIC', the offset reached, for each
# topic. A claim of a higher epoch refuses a lower epoch; a new epoch keeps offsets. To confirm a
# claim takes no memory, which a full server would refuse. KEYS: the claim, the filled partitions (a
# bit each). ARGV: epoch, milliseconds to keep it, partition.
CLAIM = Script("""
local held = redis.call('HGET', KEYS[1], 'epoch')
if held and tonumber(held) > tonumber(ARGV[1]) then return {'refused', held} end
if not held then redis.call('SETBIT', KEYS[2], ARGV[3], 0) end
if held ~= ARGV[1] then redis.call('HSET', KEYS[1], 'epoch', ARGV[1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {held and 'held' or 'new', redis.call('HGETALL', KEYS[1])}
""")

# KEYS: the claim, then the keys of the rows. ARGV: epoch, width of a row in bytes, all rows in a
# single string, milliseconds to keep them, then pairs of a field of the claim and its offset.
WRITE = Script("""
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return 'lost' end
if held ~= ARGV[1] then return 'fenced' end
local width, rows, keep = tonumber(ARGV[2]), ARGV[3], ARGV[4]
for i = 2, #KEYS do
  local row = string.sub(rows, (i - 2) * width + 1, (i - 1) * width)
  redis.call('SET', KEYS[i], row, 'PX', keep)
end
for i = 5, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[1], ARGV[i])
  if not before or tonumber(before) < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
return 'written'
""")

# KEYS: the claim, then the keys to remove. ARGV: epoch.
REMOVE = Script("""
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return 'lost' end
if held ~= ARGV[1] then return 'fenced' end
redis.call('UNLINK', unpack(KEYS, 2))
return 'written'
""")

# KEYS: the claim, the filled partitions. ARGV: epoch, milliseconds to keep the latter, partition.
MARK_FILLED = Script("""
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return 'lost' end
if held ~= ARGV[1] then return 'fenced' end
redis.call('SETBIT', KEYS[2], ARGV[3], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 'written'
""")

# KEYS: the claim, then the keys of rows. ARGV: epoch, milliseconds to keep them. Gives the places
# of the keys that have no row.
REFRESH = Script("""
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return {} end
local missing = {}
for i = 2, #KEYS do
  if redis.call('PEXPIRE', KEYS[i], ARGV[2]) == 0 then missing[#missing + 1] = i - 2 end
end
return missing
""")
