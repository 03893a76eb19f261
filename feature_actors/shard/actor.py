"""A feature shard as a part of a running system: a plain class that Ray may place."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from freshrank.actors.protocols import Status
from freshrank.feature_actors.shard.shard import Shard


class Loop(Protocol):
    """Something that runs beside the shard: the follower that keeps its weights fresh."""

    async def run(self) -> None:
        """Run for ever; raises what ends it."""
        ...


class FeatureShard:
    """Runs a `Shard`, and what keeps its weights fresh, on the event loop of its caller.

    What ends one of the loops is raised by `ping` and `status`, so that a supervisor sees it and
    starts the actor anew.
    """

    def __init__(self, shard: Shard, beside: Sequence[Loop] = ()) -> None:
        self._shard = shard
        self._beside = beside
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped = False

    async def start(self) -> None:
        """Begin. May be called again: does nothing."""
        if not self._tasks:
            loops: list[Loop] = [self._shard, *self._beside]
            self._tasks = [asyncio.create_task(loop.run()) for loop in loops]

    async def ping(self) -> None:
        """Raise what ended a loop, if anything did."""
        for task in self._tasks:
            if task.done() and not self._stopped:
                task.result()

    async def status(self) -> Status:
        """Figures of now. Raises what ended a loop."""
        await self.ping()
        return await self._shard.status()

    async def freeze(self) -> None:
        """Keep a copy of the present weights, to score beside the live ones from now on."""
        self._shard.freeze()

    async def stop(self) -> None:
        """Drain, write snapshots, leave. Safe to call twice."""
        if self._stopped:
            return
        self._stopped = True
        await self._shard.stop()
        for task in self._tasks[1:]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
