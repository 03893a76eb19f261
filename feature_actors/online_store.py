"""Redis: the derived copy of the entities' rows, and the board where parts put figures.

A chunk of rows is one call of a script, so that the check of the claim and the writing are
one indivisible step on the server. The rows of a chunk travel as one argument, which the
script cuts: packing and parsing hundreds of arguments costs more than writing them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import msgspec
import redis.asyncio
import redis.exceptions

from freshrank.actors.errors import ConfigError, ProgressError, Unavailable
from freshrank.actors.protocols import Status, WriteOutcome

Argument: TypeAlias = bytes | str | int | memoryview
Command: TypeAlias = tuple[Argument, ...]

# From this size on an argument is sent where it lies instead of being copied into the rest.
LARGE_BYTES = 10_000

# Rows in one script call: long enough to spread the call's cost, short enough that a reader
# waits less than a millisecond behind it (Lua's own limit on arguments is near 8,000).
CHUNK_ROWS = 500
# Calls sent before the first answer is awaited: what lies in the socket stays below 4 MB.
CALLS_IN_FLIGHT = 4
# Seconds after which a store that does not answer counts as away.
DEADLINE_S = 2.0
# Seconds after which the figures of a part that stopped posting disappear.
BOARD_TTL_S = 15
# Keys asked for in one step of a scan over the board.
SCAN_COUNT = 100


class _Script:
    """A Lua script, called by its hash."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


# A claim is a hash {epoch, position}. A higher epoch refuses; the position is kept.
_CLAIM = _Script("""
local held = redis.call('HMGET', KEYS[1], 'epoch', 'position')
if held[1] and tonumber(held[1]) > tonumber(ARGV[1]) then return {'refused', held[1]} end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'position', held[2] or '0')
return {held[1] and 'held' or 'new', held[2] or '0'}
""")

# KEYS: the claim, then those of the rows. ARGV: epoch, position, width, all rows in a piece.
_WRITE = _Script("""
local held = redis.call('HMGET', KEYS[1], 'epoch', 'position')
if not held[1] then return 'lost' end
if held[1] ~= ARGV[1] then return 'fenced' end
local pairs, width, rows = {}, tonumber(ARGV[3]), ARGV[4]
for i = 2, #KEYS do
  pairs[2 * i - 3] = KEYS[i]
  pairs[2 * i - 2] = string.sub(rows, (i - 2) * width + 1, (i - 1) * width)
end
redis.call('MSET', unpack(pairs))
if tonumber(held[2]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'position', ARGV[2])
end
return 'written'
""")

# KEYS: the claim, then the keys to remove. ARGV: epoch.
_REMOVE = _Script("""
local held = redis.call('HGET', KEYS[1], 'epoch')
if not held then return 'lost' end
if held ~= ARGV[1] then return 'fenced' end
redis.call('UNLINK', unpack(KEYS, 2))
return 'written'
""")


def _pack(command: Command) -> Iterator[bytes]:
    # The client's own packing, in Python, joins once an argument.
    small = [b"*%d\r\n" % len(command)]
    for argument in command:
        raw = bytes(argument) if isinstance(argument, memoryview) else _text(argument)
        if len(raw) < LARGE_BYTES:
            small.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
        else:
            small.append(b"$%d\r\n" % len(raw))
            yield b"".join(small)
            yield raw
            small = [b"\r\n"]
    yield b"".join(small)


def _text(argument: bytes | str | int) -> bytes:
    return argument if isinstance(argument, bytes) else str(argument).encode()


class _Wire:
    """Connections that carry packed commands, several before the first answer."""

    def __init__(self, url: str, deadline_s: float) -> None:
        self._pool = redis.asyncio.ConnectionPool.from_url(url, socket_connect_timeout=deadline_s)
        self._deadline_s = deadline_s
        self._idle: list[redis.asyncio.connection.AbstractConnection] = []

    async def call(self, commands: Sequence[Command]) -> list[object]:
        """Send all, then read all answers. Raises Unavailable; error answers are returned."""
        async with self._connection() as connection:
            pieces = [piece for one in commands for piece in _pack(one)]
            await connection.send_packed_command(pieces, check_health=False)
            answers: list[object] = []
            for _ in commands:
                try:
                    answers.append(await connection.read_response())
                except redis.exceptions.ResponseError as error:
                    answers.append(error)
            return answers

    def _connect(self) -> redis.asyncio.connection.AbstractConnection:
        return self._pool.connection_class(**self._pool.connection_kwargs)

    async def close(self) -> None:
        """Close what is idle; safe to call twice."""
        while self._idle:
            await self._idle.pop().disconnect(nowait=True)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[redis.asyncio.connection.AbstractConnection]:
        connection = self._idle.pop() if self._idle else self._connect()
        whole = False
        try:
            async with asyncio.timeout(self._deadline_s):
                yield connection
                whole = True
        except (redis.exceptions.RedisError, OSError) as error:
            raise Unavailable("redis", str(error) or type(error).__name__) from error
        finally:
            if whole:
                self._idle.append(connection)
            else:  # answers may still be on their way: nobody may read them as theirs
                await connection.disconnect(nowait=True)


async def check_access(url: str, deadline_s: float = DEADLINE_S) -> None:
    """Ask the server for a sign of life; raises Unavailable, or ConfigError for its password."""
    wire = _Wire(url, deadline_s)
    try:
        (answer,) = await wire.call([("PING",)])
    except Unavailable as error:
        if isinstance(error.__cause__, redis.exceptions.AuthenticationError):
            raise _refused(error.reason) from error
        raise
    finally:
        await wire.close()
    if isinstance(answer, redis.exceptions.AuthenticationError):
        raise _refused(str(answer))


def _refused(reason: str) -> ConfigError:
    return ConfigError(
        "redis",
        f"the server refuses who asks ({reason})",
        "Set FRESHRANK_REDIS__PASSWORD_FILE or FRESHRANK_REDIS__PASSWORD.",
    )


class RedisStore:
    """Rows in Redis under the caller's keys; satisfies OnlineStore.

    Parameters
    ----------
    url
        ``redis://host:port/db`` or ``unix:///path``.
    namespace
        Prefix of the claims' keys; the same for all writers of one set of rows, so it should
        name the definitions too (other definitions are other rows).
    deadline_s
        Longer than this no call takes: it raises Unavailable.
    """

    def __init__(self, url: str, namespace: str, deadline_s: float = DEADLINE_S) -> None:
        self._wire = _Wire(url, deadline_s)
        self._namespace = namespace

    async def claim(self, partition: int, epoch: int) -> int | None:
        """Become the partition's writer; gives the position written so far, None if unknown."""
        key = self._claim_key(partition)
        (answer,) = await self._run(_CLAIM, [("EVALSHA", _CLAIM.sha, 1, key, epoch)])
        if not isinstance(answer, list) or len(answer) != 2:
            raise Unavailable("redis", f"unexpected answer to a claim: {answer!r}")
        state, number = answer[0], int(answer[1])
        if state == b"refused":
            raise ProgressError(f"partition {partition} is claimed by epoch {number} > {epoch}")
        return number if state == b"held" else None

    async def write(
        self,
        partition: int,
        epoch: int,
        position: int,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        """Set each key to its row, chunk by chunk. Raises Unavailable."""
        claim = self._claim_key(partition)
        width = len(rows) // max(len(keys), 1)
        view = memoryview(rows)
        calls: list[Command] = []
        for begin in range(0, len(keys), CHUNK_ROWS):
            some = keys[begin : begin + CHUNK_ROWS]
            piece = view[begin * width : (begin + len(some)) * width]
            head = ("EVALSHA", _WRITE.sha, len(some) + 1, claim)
            calls.append((*head, *some, epoch, position, width, piece))
        return await self._run_all(_WRITE, calls)

    async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
        """Drop the rows of `keys`. Raises Unavailable."""
        claim = self._claim_key(partition)
        calls: list[Command] = []
        for begin in range(0, len(keys), CHUNK_ROWS):
            some = keys[begin : begin + CHUNK_ROWS]
            calls.append(("EVALSHA", _REMOVE.sha, len(some) + 1, claim, *some, epoch))
        return await self._run_all(_REMOVE, calls)

    async def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """One MGET; None where nothing is stored. Raises Unavailable."""
        if not keys:
            return []
        (answer,) = await self._wire.call([("MGET", *keys)])
        if not isinstance(answer, list):
            raise Unavailable("redis", f"unexpected answer to MGET: {answer!r}")
        return answer

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._wire.close()

    def _claim_key(self, partition: int) -> str:
        return f"{self._namespace}:claim:{partition}"

    async def _run_all(self, script: _Script, calls: Sequence[Command]) -> WriteOutcome:
        for begin in range(0, len(calls), CALLS_IN_FLIGHT):
            for answer in await self._run(script, calls[begin : begin + CALLS_IN_FLIGHT]):
                if not isinstance(answer, bytes):
                    raise Unavailable("redis", f"unexpected answer to a write: {answer!r}")
                outcome = WriteOutcome(answer.decode())
                if outcome is not WriteOutcome.WRITTEN:
                    return outcome
        return WriteOutcome.WRITTEN

    async def _run(self, script: _Script, calls: Sequence[Command]) -> list[object]:
        if not calls:
            return []
        answers = await self._wire.call(calls)
        if any(isinstance(one, redis.exceptions.NoScriptError) for one in answers):
            # A server that has just started knows no scripts; what ran is run again unharmed.
            await self._wire.call([("SCRIPT", "LOAD", script.text)])
            answers = await self._wire.call(calls)
        for one in answers:
            if isinstance(one, redis.exceptions.ResponseError):
                raise Unavailable("redis", str(one)) from one
        return answers


class RedisBoard:
    """Figures as JSON under ``{namespace}:status:{part}``; satisfies StatusBoard."""

    def __init__(self, url: str, namespace: str, deadline_s: float = DEADLINE_S) -> None:
        self._wire = _Wire(url, deadline_s)
        self._prefix = f"{namespace}:status:"

    async def post(self, part: str, status: Status) -> None:
        """Replace the figures of `part`; they expire after `BOARD_TTL_S`. Raises Unavailable."""
        await self._wire.call(
            [("SET", self._prefix + part, msgspec.json.encode(status), "EX", BOARD_TTL_S)]
        )

    async def collect(self) -> dict[str, Status]:
        """The figures of all parts that posted lately. Raises Unavailable."""
        names = await self._names()
        if not names:
            return {}
        (payloads,) = await self._wire.call([("MGET", *names)])
        if not isinstance(payloads, list):
            raise Unavailable("redis", f"unexpected answer to MGET: {payloads!r}")
        return {
            name.decode().removeprefix(self._prefix): msgspec.json.decode(payload)
            for name, payload in zip(names, payloads, strict=True)
            if payload is not None  # it expired in between
        }

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._wire.close()

    async def _names(self) -> list[bytes]:
        names: set[bytes] = set()
        cursor: bytes | int = 0
        while True:
            (answer,) = await self._wire.call(
                [("SCAN", cursor, "MATCH", self._prefix + "*", "COUNT", SCAN_COUNT)]
            )
            if not isinstance(answer, list) or len(answer) != 2:
                raise Unavailable("redis", f"unexpected answer to SCAN: {answer!r}")
            cursor, found = answer
            names.update(found)
            if int(cursor) == 0:
                return sorted(names)
