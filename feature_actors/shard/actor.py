"""A feature shard as a component of a running system: a plain class that Ray may place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import Status
from freshrank.feature_actors.shard.lifecycle import ShardState
from freshrank.feature_actors.shard.shard import Shard

_ENDING = (ShardState.STOPPING, ShardState.STOPPED)


class FeatureShard:
    """Runs a `Shard`, and the follower of its weights, on the event loop of its caller.

    The error that ended one of them is raised by `ping` and `status`: a supervisor that sees it
    starts another actor in place of this one.

    Parameters
    ----------
    follower
        None: the shard sends examples, and holds no weights.
    """

    def __init__(self, shard: Shard, follower: Follower | None = None) -> None:
        self._shard = shard
        self._follower = follower
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin. May be called again: does nothing."""
        if not self._tasks:
            loops: list[Coroutine[Any, Any, None]] = [self._shard.run()]
            if self._follower is not None:
                loops.append(self._follower.run())
            loops += [rekeyer.run() for rekeyer in self._shard.rekeyers]
            self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def ping(self) -> None:
        """Raise the error that ended a loop, if one has ended."""
        for task in self._tasks:
            if task.done() and self._shard.state not in _ENDING:
                task.result()
        self._shard.check()

    async def status(self) -> Status:
        """Metrics of now. Raises the error that ended a loop."""
        await self.ping()
        return await self._shard.status()

    async def freeze_reference(self) -> None:
        """Keep a copy of the present weights; from now on both they and the live weights score."""
        self._shard.freeze_reference()

    async def stop(self) -> None:
        """Drain, write snapshots, leave. May be called again: does nothing."""
        if self._shard.state in _ENDING:
            return
        await self._shard.stop()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
