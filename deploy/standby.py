"""A process that stands by, and takes the place of a shard whose own has died.

A new process loads code for seconds before it can take up a state; one that has done so by then
needs a fraction of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

from freshrank.actors.errors import Unavailable

# Pings in a row without an answer after which a host counts as lost: it may only be busy. Whoever
# is dead says so at once.
MISSED_PINGS = 3
# Seconds that a host is left to start before it is made anew: one that dies while it starts would
# do so again at once.
LEAST_AGE_S = 3.0


class Host(Protocol):
    """The address of a shard host (`actors.runtime.RemoteActor`)."""

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` over there. Raises Unavailable, or what it raised."""
        ...

    def kill(self) -> None:
        """End its process at once."""
        ...


Make: TypeAlias = Callable[[], Host]
"""Starts a shard host without a duty."""


class Standby:
    """One shard host without a duty; supervised like any other part."""

    name = "standby"

    def __init__(self, make: Make) -> None:
        self._make = make
        self._host = make()
        self._ready = False

    async def ping(self, timeout_s: float) -> None:
        """Have it load everything, if it has not. Raises Unavailable, or what is not well."""
        self._ready = False
        await self._host.call("stand_by", timeout_s=timeout_s)
        self._ready = True

    def kill(self) -> None:
        """End it, and start another."""
        self._host.kill()
        self._host, self._ready = self._make(), False

    def take(self) -> Host | None:
        """Give away who stands by, and start another; None when nobody is ready."""
        if not self._ready:
            return None
        ready, self._host, self._ready = self._host, self._make(), False
        return ready


class ShardSlot:
    """Some partitions, and whichever process has them at present.

    Parameters
    ----------
    index, partitions
        Its number and what it owns.
    make
        Starts a host, which is given its duty by the first ping.
    monotonic
        Seconds, to tell who is dead from who is slow.
    """

    def __init__(
        self,
        index: int,
        partitions: Sequence[int],
        make: Make,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"shard-{index}"
        self.standby: Standby | None = None
        """Who takes its place; none at first."""
        self._duty = (index, list(partitions))
        self._make = make
        self._monotonic = monotonic
        self._host = make()
        self._since = monotonic()
        self._missed = 0

    async def ping(self, timeout_s: float) -> None:
        """Give it its duty if it has none yet. Raises Unavailable, or why it ended.

        Who is lost is replaced, and Unavailable raised all the same: the next ping finds the other.
        """
        begun = self._monotonic()
        try:
            await self._host.call("take_over", *self._duty, timeout_s=timeout_s)
        except Unavailable:
            now = self._monotonic()
            self._missed += 1
            lost = now - begun < timeout_s or self._missed >= MISSED_PINGS
            if lost and now - self._since >= LEAST_AGE_S:
                self.kill()
            raise
        self._missed = 0

    async def call(self, method: str, *args: object, timeout_s: float) -> Any:
        """Call `method` of the host that has the partitions. Raises as `Host.call`."""
        return await self._host.call(method, *args, timeout_s=timeout_s)

    def kill(self) -> None:
        """End its process at once; another takes its place."""
        self._host.kill()
        self._take((self.standby.take() if self.standby else None) or self._make())

    def _take(self, host: Host) -> None:
        self._host, self._since, self._missed = host, self._monotonic(), 0
