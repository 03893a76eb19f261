"""A feature shard as a component of a running system: a plain class that Ray may place."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import Status
from freshrank.feature_actors.shard.lifecycle import ShardState
from freshrank.feature_actors.shard.shard import Shard

_ENDING = (ShardState.STOPPING, ShardState.STOPPED)


class FeatureShard:
    """Runs `Shard` loops, and the follower of the weights, on the event loop of its caller.

    The error that ended one of them is raised by `ping` and `status`: a supervisor that sees it
    starts another actor in place of this one.

    Parameters
    ----------
    shard
        Owns partitions of the entity that requests name; its status is the actor's.
    follower
        None: the shard sends examples, and holds no weights.
    others
        Own partitions of entities that candidates name. They post statuses of their own.
    """

    def __init__(
        self, shard: Shard, follower: Follower | None = None, others: Sequence[Shard] = ()
    ) -> None:
        self._shard = shard
        self._all = (shard, *others)
        self._follower = follower
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin. May be called again: does nothing."""
        if not self._tasks:
            loops: list[Coroutine[Any, Any, None]] = [shard.run() for shard in self._all]
            if self._follower is not None:
                loops.append(self._follower.run())
            loops += [rekeyer.run() for shard in self._all for rekeyer in shard.rekeyers]
            self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def ping(self) -> None:
        """Raise the error that ended a loop, if one has ended."""
        for task in self._tasks:
            if task.done() and self._shard.state not in _ENDING:
                task.result()
        for shard in self._all:
            shard.check()

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
        await asyncio.gather(*(shard.stop() for shard in self._all))
        for task in self._tasks[len(self._all) :]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
