"""Stores the rows of entities in Redis, from where replicas read them.

A script call writes a chunk of rows, so that the server checks the claim and writes the rows in a
single atomic step. The rows of a chunk are a single argument, which the script splits: packing and
parsing hundreds of arguments takes longer than writing the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import redis.exceptions

from freshrank.actors.errors import ProgressError, StoreFull, Unavailable
from freshrank.actors.messages import SourceOffsets
from freshrank.actors.protocols import StoreRead, WriteOutcome
from freshrank.feature_actors.connectors.redis.connection import (
    DEADLINE_S,
    Command,
    RedisConnection,
    server_info,
)
from freshrank.feature_actors.connectors.redis.scripts import (
    CLAIM,
    MARK_FILLED,
    REFRESH,
    REMOVE,
    WRITE,
    Script,
)

# Rows in a script call: enough to spread the cost of the call, and so few that a reader waits less
# than a millisecond for the call to end (Lua's own limit on arguments is near 8,000).
CHUNK_ROWS = 500
# Calls sent before the first answer is awaited: they keep less than 4 MB in the socket.
CALLS_IN_FLIGHT = 4


# Seconds that a row is kept unless another time is given.
EXPIRY_S = 3600.0

# Seconds after which a reader of the present run's rows asks again which these are.
ORIGIN_S = 1.0

_FULL = (
    "its memory is full, so that it refuses rows (maxmemory is reached): give it more memory, or "
    "lower shards.max_entities_per_partition"
)

# The key, of an origin, whose bit of a partition is set when all its rows are in the store.
_FILLED = b"filled"

# Prefix of the claim's fields that hold the offset of a topic.
_OFFSET = b"offset:"


class RedisStore:
    """Rows in Redis; implements OnlineStore. The key of a row is namespace, origin and its own key.

    Parameters
    ----------
    url
        ``redis://host:port/db`` or ``unix:///path``.
    namespace
        Of one pipeline: all its writers and readers share it.
    origin
        Names the log and the state that the rows come from. Rows of another origin are not found.
        None, for readers: the origin of the run that writes at present (`RunLease.publish`).
    expiry_s
        Seconds after which a row that was neither written nor refreshed is gone. A claim that is
        not renewed is gone in half the time: no row can then be missing where there is a claim,
        if all rows are refreshed within the other half.
    deadline_s
        Seconds after which a call without an answer raises Unavailable.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        origin: str | None = "",
        *,
        expiry_s: float = EXPIRY_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._connection = RedisConnection(url, deadline_s)
        self._namespace = namespace
        self._prefix = f"{namespace}:{origin}:".encode()
        self._asked_at: float | None = None
        """When the present origin was asked for last, in seconds of the event loop."""
        self._follows = origin is None
        self._keep_ms = int(expiry_s * 1000)

    async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
        """Become the partition's writer; return the offsets written so far, None if unknown.

        Raises ProgressError if a writer of a higher epoch has claimed it, and Unavailable.
        """
        (answer,) = await self._run(CLAIM, [self._of_claim(CLAIM, partition, epoch)])
        if not isinstance(answer, list) or len(answer) != 2:
            raise Unavailable("redis", f"unexpected answer to a claim: {answer!r}")
        state, held = answer
        if state == b"refused":
            raise ProgressError(f"partition {partition} is claimed by epoch {int(held)} > {epoch}")
        if state != b"held":
            return None
        fields = dict(zip(held[::2], held[1::2], strict=True))
        return SourceOffsets(
            {
                field.removeprefix(_OFFSET).decode(): int(offset)
                for field, offset in fields.items()
                if field.startswith(_OFFSET)
            }
        )

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        """Set each key to its row, in chunks of `CHUNK_ROWS`. Raises Unavailable.

        `rows` holds the rows in the order of `keys`, all with the same number of bytes.
        """
        claim = self._claim_key(partition)
        width = len(rows) // max(len(keys), 1)
        view = memoryview(rows)
        offsets = [part for topic, at in reached.items() for part in (_OFFSET + topic.encode(), at)]
        calls: list[Command] = []
        for begin in range(0, len(keys), CHUNK_ROWS):
            chunk = self._full(keys[begin : begin + CHUNK_ROWS])
            chunk_rows = view[begin * width : (begin + len(chunk)) * width]
            head = ("EVALSHA", WRITE.sha, len(chunk) + 1, claim)
            calls.append((*head, *chunk, epoch, width, chunk_rows, self._keep_ms, *offsets))
        return await self._run_all(WRITE, calls)

    async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
        """Remove the rows of `keys`, in chunks of `CHUNK_ROWS`. Raises Unavailable."""
        claim = self._claim_key(partition)
        calls: list[Command] = []
        for begin in range(0, len(keys), CHUNK_ROWS):
            chunk = self._full(keys[begin : begin + CHUNK_ROWS])
            calls.append(("EVALSHA", REMOVE.sha, len(chunk) + 1, claim, *chunk, epoch))
        return await self._run_all(REMOVE, calls)

    async def refresh(self, partition: int, epoch: int, keys: Sequence[bytes]) -> list[int]:
        """Keep the rows of `keys`, in chunks of `CHUNK_ROWS`; gives the places of missing ones.

        Raises Unavailable.
        """
        claim, missing = self._claim_key(partition), list[int]()
        for begin in range(0, len(keys), CHUNK_ROWS):
            chunk = self._full(keys[begin : begin + CHUNK_ROWS])
            head = ("EVALSHA", REFRESH.sha, len(chunk) + 1, claim)
            (answer,) = await self._run(REFRESH, [(*head, *chunk, epoch, self._keep_ms)])
            if not isinstance(answer, list):
                raise Unavailable("redis", f"unexpected answer to a refresh: {answer!r}")
            missing += [begin + place for place in answer]
        return missing

    async def mark_filled(self, partition: int, epoch: int) -> WriteOutcome:
        """Note that every row of the partition is in the store. Raises Unavailable."""
        call = self._of_claim(MARK_FILLED, partition, epoch)
        return await self._run_all(MARK_FILLED, [call])

    async def evicted(self) -> int:
        """The keys that the server has removed to make room; 0 where it does not say."""
        statistics = await server_info(self._connection, "stats")
        return int(statistics.get("evicted_keys", "0"))

    async def read(self, keys: Sequence[bytes]) -> StoreRead:
        """Return the row of each key, None for a key without a row. Raises Unavailable."""
        if self._follows:
            await self._follow()
        (answer,) = await self._connection.call([("MGET", *self._full([_FILLED, *keys]))])
        if not isinstance(answer, list):
            raise Unavailable("redis", f"unexpected answer to MGET: {answer!r}")
        filled, *rows = answer
        return StoreRead(rows, int.from_bytes(filled or b"").bit_count())

    async def close(self) -> None:
        """Close the connections; safe to call twice."""
        await self._connection.close()

    def _of_claim(self, script: Script, partition: int, epoch: int) -> Command:
        keys = (self._claim_key(partition), self._prefix + _FILLED)
        return ("EVALSHA", script.sha, len(keys), *keys, epoch, self._keep_ms // 2, partition)

    def _claim_key(self, partition: int) -> bytes:
        return self._prefix + b"claim:%d" % partition

    def _full(self, keys: Sequence[bytes]) -> list[bytes]:
        prefix = self._prefix
        return [prefix + key for key in keys]

    async def _follow(self) -> None:
        """Read the rows of the run that writes at present, which may be another than before."""
        now_s = asyncio.get_running_loop().time()
        if self._asked_at is not None and now_s < self._asked_at + ORIGIN_S:
            return
        (origin,) = await self._connection.call([("GET", f"{self._namespace}:origin")])
        if not isinstance(origin, bytes):
            raise Unavailable("redis", f"no run has written rows of {self._namespace!r}")
        self._prefix = f"{self._namespace}:{origin.decode()}:".encode()
        self._asked_at = now_s

    async def _run_all(self, script: Script, calls: Sequence[Command]) -> WriteOutcome:
        for begin in range(0, len(calls), CALLS_IN_FLIGHT):
            for answer in await self._run(script, calls[begin : begin + CALLS_IN_FLIGHT]):
                if not isinstance(answer, bytes):
                    raise Unavailable("redis", f"unexpected answer to a write: {answer!r}")
                outcome = WriteOutcome(answer.decode())
                if outcome is not WriteOutcome.WRITTEN:
                    return outcome
        return WriteOutcome.WRITTEN

    async def _run(self, script: Script, calls: Sequence[Command]) -> list[object]:
        if not calls:
            return []
        answers = await self._connection.call(calls)
        if any(isinstance(answer, redis.exceptions.NoScriptError) for answer in answers):
            # A server that has just started has no scripts. Calls may run twice: they only set or
            # remove rows, and raise offsets.
            await self._connection.call([("SCRIPT", "LOAD", script.text)])
            answers = await self._connection.call(calls)
        for answer in answers:
            if isinstance(answer, redis.exceptions.ResponseError):
                if "OOM" in str(answer) or isinstance(answer, redis.exceptions.OutOfMemoryError):
                    raise StoreFull("redis", _FULL) from answer
                raise Unavailable("redis", str(answer)) from answer
        return answers
