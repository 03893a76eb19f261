"""The lease on a pipeline's rows in Redis, which goes with the run that holds the state folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.feature_actors.connectors.redis.lease import LEASE_S, RunLease, this_run


class StoreLease:
    """Holds the lease for a run, and renews it in the background until `release`.

    Parameters
    ----------
    url, namespace
        Of the rows, as of `RedisStore`.
    folder
        The state folder, which this run holds.
    lost
        Called when another run has taken the lease; then `check` raises.
    """

    def __init__(self, url: str, namespace: str, folder: Path, lost: Callable[[], None]) -> None:
        self._lease = RunLease(url, namespace, this_run(folder))
        self._namespace = namespace
        self._lost = lost
        self._keeping: asyncio.Task[None] | None = None

    async def acquire(self) -> None:
        """Take the lease. Raises ConfigError when a living run holds it, and Unavailable."""
        holder = await self._lease.acquire()
        if holder is not None:
            await self._lease.close()
            raise ConfigError(
                "redis.url",
                f"another run writes rows of {self._namespace!r} to this Redis ({holder})",
                "Stop it, give this pipeline another name, or take another Redis or another "
                "database of it (redis://host:port/1). The lease of a run that was killed ends "
                f"after {LEASE_S:g} s.",
            )
        self._keeping = asyncio.create_task(self._lease.keep())
        self._keeping.add_done_callback(self._ended)

    async def publish(self, origin: str) -> None:
        """Tell readers that no run has started which rows are written. Raises Unavailable."""
        await self._lease.publish(origin)

    def check(self) -> None:
        """Raise ProgressError when another run has taken the lease."""
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()

    async def release(self) -> None:
        """Give the lease back; a Redis that is away forgets it by itself."""
        if self._keeping is not None:
            self._keeping.cancel()
        with contextlib.suppress(Unavailable):
            await self._lease.release()
        await self._lease.close()

    def _ended(self, keeping: asyncio.Task[None]) -> None:
        if not keeping.cancelled():
            self._lost()
