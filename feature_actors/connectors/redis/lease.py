"""The lease of a run: on one Redis, one run at a time writes the rows of a pipeline's name."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.feature_actors.connectors.redis.connection import (
    DEADLINE_S,
    Command,
    RedisConnection,
)

# Seconds after which the lease of a run that has not renewed it is free: several renewals of a
# busy machine.
LEASE_S = 15.0
# Seconds between two renewals.
RENEW_S = 2.0


class LeaseHolder(msgspec.Struct, frozen=True):
    """The run that holds the lease, as Redis keeps it."""

    run: str
    """Random: another one for each run."""
    host: str
    machine: str
    """Tells machines with the same host name apart."""
    folder: str
    """Of its state, absolute: one run at a time holds it."""
    process: int
    since_ms: int

    def follows(self, before: LeaseHolder) -> bool:
        """Whether this run holds the state folder of the run `before`, which has ended then."""
        return (self.host, self.machine, self.folder) == (
            before.host,
            before.machine,
            before.folder,
        )

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC)
        return (
            f"process {self.process} of {self.host}, with its state in {self.folder}, "
            f"since {since:%Y-%m-%d %H:%M:%S} UTC"
        )


def this_run(folder: Path) -> LeaseHolder:
    """Describe the run of this process, whose state is in `folder`."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    machine = boot.read_text(encoding="ascii").strip() if boot.exists() else ""
    run, host, now_ms = os.urandom(8).hex(), os.uname().nodename, time.time_ns() // 1_000_000
    return LeaseHolder(run, host, machine, str(folder), os.getpid(), now_ms)


# KEYS: the lease, the origin. ARGV: the holder's JSON, the lease's JSON that it may replace (empty:
# none), milliseconds, the origin. Gives the lease that stands in the way.
_TAKE = """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[2] then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
if ARGV[4] ~= '' then redis.call('SET', KEYS[2], ARGV[4]) end
return ''
"""

# KEYS: the lease. ARGV: the holder's JSON.
_RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return ''
"""


class RunLease:
    """The lease of one run; it lasts `lease_s` and has to be renewed.

    Parameters
    ----------
    url, namespace
        As of `RedisStore`.
    holder
        This run.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        holder: LeaseHolder,
        lease_s: float = LEASE_S,
    ) -> None:
        self._connection = RedisConnection(url, DEADLINE_S)
        self._holder = holder
        self._json = msgspec.json.encode(holder)
        self._keys = (f"{namespace}:run", f"{namespace}:origin")
        self._lease_ms = int(lease_s * 1000)
        self._origin = ""

    async def acquire(self) -> LeaseHolder | None:
        """Take the lease; returns the living run that holds it, None when it is ours.

        A lease of an earlier run of the same state folder is taken at once. Raises Unavailable.
        """
        held = await self._take(b"")
        if held is None:
            return None
        before = _holder(held)
        if not self._holder.follows(before):
            return before
        held = await self._take(held)
        return None if held is None else _holder(held)

    async def publish(self, origin: str) -> None:
        """Tell readers that no run has started which rows this run writes. Raises Unavailable."""
        self._origin = origin
        await self._take(b"")

    async def keep(self) -> None:
        """Renew the lease for ever; a Redis that lost it gets it again.

        Raises ProgressError when another run has taken it: this run did not renew it for so long.
        """
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                held = await self._take(b"")
            except Unavailable:
                continue  # the shards report it; the lease is taken again when Redis is back
            if held is not None:
                raise ProgressError(
                    f"another run writes the pipeline's rows in Redis now: {_holder(held)}"
                )

    async def release(self) -> None:
        """Give the lease back, if it is ours. Raises Unavailable."""
        await self._call(("EVAL", _RELEASE, 1, self._keys[0], self._json))

    async def close(self) -> None:
        """Close the connection; safe to call twice."""
        await self._connection.close()

    async def _take(self, instead_of: bytes) -> bytes | None:
        """Take or renew the lease; returns the lease that stands in the way."""
        arguments = (self._json, instead_of, self._lease_ms, self._origin)
        answer = await self._call(("EVAL", _TAKE, 2, *self._keys, *arguments))
        return answer or None

    async def _call(self, command: Command) -> bytes:
        (answer,) = await self._connection.call([command])
        if not isinstance(answer, bytes):
            raise Unavailable("redis", f"unexpected answer to a lease: {answer!r}")
        return answer


def _holder(lease: bytes) -> LeaseHolder:
    try:
        return msgspec.json.decode(lease, type=LeaseHolder)
    except msgspec.DecodeError as error:
        raise Unavailable("redis", f"the lease is of another version: {lease!r}") from error
