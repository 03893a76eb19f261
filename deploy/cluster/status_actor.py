"""The actor that keeps the newest status of every part, and the registry that reaches it.

Statuses travel by Ray and not by the online store: what tells of an outage must not fail with it.
"""

from __future__ import annotations

from typing import cast

from freshrank.actors.clock import SystemClock
from freshrank.actors.protocols import Status
from freshrank.actors.runtime import Address
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry

# Seconds for a post or a read: a status is small and wanted now.
_TIMEOUT_S = 2.0


class StatusActor:
    """The process of the status registry: the statuses that were posted in the last seconds."""

    def __init__(self) -> None:
        self._statuses = MemoryStatusRegistry(SystemClock())

    async def ping(self) -> None:
        """Return, which tells that the process is alive."""

    async def post(self, part: str, status: Status) -> None:
        """Replace the status of `part`."""
        await self._statuses.post(part, status)

    async def withdraw(self, part: str) -> None:
        """Remove the status of `part`."""
        await self._statuses.withdraw(part)

    async def collect(self) -> dict[str, Status]:
        """Return the statuses that have not expired, by part."""
        return await self._statuses.collect()


class RemoteStatusRegistry:
    """The registry in the process of a `StatusActor`; satisfies StatusRegistry."""

    def __init__(self, actor: Address) -> None:
        self._actor = actor

    async def post(self, part: str, status: Status) -> None:
        """Replace the status of `part`. Raises Unavailable."""
        await self._actor.call("post", part, status, timeout_s=_TIMEOUT_S)

    async def withdraw(self, part: str) -> None:
        """Remove the status of `part`. Raises Unavailable."""
        await self._actor.call("withdraw", part, timeout_s=_TIMEOUT_S)

    async def collect(self) -> dict[str, Status]:
        """By part: the statuses that have not expired. Raises Unavailable."""
        statuses = await self._actor.call("collect", timeout_s=_TIMEOUT_S)
        return cast(dict[str, Status], statuses)
