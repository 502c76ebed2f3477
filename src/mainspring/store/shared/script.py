"""The one script that Redis runs for us: a batch of operations on meters, each done whole or not at all.

Levels are strings that hold the instant (microseconds of the server's clock since 2026) at which the meter will have
drained. What is held is a hash of holder to units. Holders are processes; those that live are in a sorted set with the
instant at which they are taken for dead, and what dead ones held is dropped when it stands in somebody's way. A key
that is made once tells a server that has forgotten everything from one that was only out of reach.

Keys are named in the order in which the operations use them, after the set of the living. The argument and the answer
are MessagePack: `[holder, lease, now or 0, operations]` and one flat list of numbers.
"""

from __future__ import annotations

from typing import Final

TAKE, GIVE, BEAT, HOLD, LEAVE = 1, 2, 3, 4, 5
#: Which keys an ask uses: that of its level, that of what is held, or both.
LEVEL, HELD, BOTH = 1, 2, 3

SCRIPT: Final = """
local args = cmsgpack.unpack(ARGV[1])
local holder, lease, now = args[1], args[2], args[3]
if now == 0 then
  local time = redis.call('TIME')
  now = (time[1] - 1767225600) * 1000000 + time[2]
end
local alive, key, out = KEYS[1], 1, {}

local function held_in(name)
  local sum = 0
  for _, units in ipairs(redis.call('HVALS', name)) do sum = sum + units end
  return sum
end

local function without_the_dead(name)
  local sum, fields = 0, redis.call('HGETALL', name)
  for i = 1, #fields, 2 do
    local ends = fields[i] ~= holder and redis.call('ZSCORE', alive, fields[i])
    if fields[i] ~= holder and (not ends or tonumber(ends) < now) then
      redis.call('HDEL', name, fields[i])
    else
      sum = sum + fields[i + 1]
    end
  end
  return sum
end

local function put_level(name, level)
  redis.call('SET', name, string.format('%.3f', now + level), 'PX', math.ceil(level / 1000) + 1000)
end

local function level_of(name)
  local ends = redis.call('GET', name)
  return ends and math.max(0, tonumber(ends) - now) or 0
end

local function take(op)
  local admitted, seen = 1, {}
  for j = 2, #op, 6 do
    local uses, emission, capacity, hint = op[j], op[j + 1], op[j + 2], op[j + 5]
    local need = math.min(op[j + 3] + op[j + 4], capacity)
    local level, held, level_key, held_key = 0, 0, nil, nil
    if uses ~= 2 then
      key = key + 1
      level_key = KEYS[key]
      level = math.max(level_of(level_key), hint)
    end
    if uses ~= 1 then
      key = key + 1
      held_key = KEYS[key]
      held = held_in(held_key)
      if held > 0 and level + (held + need - capacity) * emission > 1 then held = without_the_dead(held_key) end
    end
    if level + (held + need - capacity) * emission > 1 then admitted = 0 end
    seen[#seen + 1] = {level_key, held_key, level, held}
  end
  out[#out + 1] = admitted
  for i, meter in ipairs(seen) do
    local j = i * 6 - 4
    local emission, charge, reserve, hint = op[j + 1], op[j + 3], op[j + 4], op[j + 5]
    local level, held = meter[3], meter[4]
    if admitted == 1 then
      level = level + charge * emission
      if reserve > 0 then
        held = held + reserve
        redis.call('HINCRBY', meter[2], holder, reserve)
        redis.call('PEXPIRE', meter[2], 86400000)
      end
    end
    if meter[1] and level > 0 and (hint > 0 or (admitted == 1 and charge > 0)) then put_level(meter[1], level) end
    out[#out + 1] = level
    out[#out + 1] = held
  end
end

local function give(op)
  for j = 2, #op, 4 do
    local uses, emission, charge, reserve = op[j], op[j + 1], op[j + 2], op[j + 3]
    if uses ~= 2 then
      key = key + 1
      if charge > 0 then put_level(KEYS[key], level_of(KEYS[key]) + charge * emission) end
    end
    if uses ~= 1 then
      key = key + 1
      if reserve > 0 and redis.call('HINCRBY', KEYS[key], holder, -reserve) <= 0 then
        redis.call('HDEL', KEYS[key], holder)
      end
    end
  end
end

for _, op in ipairs(args[4]) do
  local kind = op[1]
  if kind == 1 then
    take(op)
  elseif kind == 2 then
    give(op)
  elseif kind == 3 then
    redis.call('ZREMRANGEBYSCORE', alive, '-inf', now)
    out[#out + 1] = redis.call('ZADD', alive, now + lease, holder)
    out[#out + 1] = redis.call('ZCARD', alive)
    key = key + 1
    local born = redis.call('GET', KEYS[key])
    if not born then
      born = string.format('%.0f', now)
      redis.call('SET', KEYS[key], born)
    end
    out[#out + 1] = tonumber(born)
    redis.call('PEXPIRE', alive, 86400000)
  elseif kind == 4 then
    key = key + 1
    if op[2] > 0 then
      redis.call('HSET', KEYS[key], holder, op[2])
      redis.call('PEXPIRE', KEYS[key], 86400000)
    else
      redis.call('HDEL', KEYS[key], holder)
    end
  elseif kind == 5 then
    redis.call('ZREM', alive, holder)
  end
end
return cmsgpack.pack(out)
"""
