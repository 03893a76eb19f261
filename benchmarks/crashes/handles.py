"""Who of the simulation lives in which process, and how the others reach the learner."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Delta, Examples, Gradient, Progress, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.benchmarks.crashes.crash_points import Crash, Process, running, step_called
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor

T = TypeVar("T")


class LearnerProcessHandle:
    """The learner as the others hold it: while it is away, or when it ends, they get no answer."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self.actor: LearnerActor | None = None

    @step_called("send gradient")
    async def push(self, work: Gradient | Examples) -> Progress:
        """See GradientSink."""
        return await self._answer(lambda actor: actor.push(work))

    @step_called("ask")
    async def progress(self, partition: int) -> Progress:
        """See GradientSink."""
        return await self._answer(lambda actor: actor.progress(partition))

    @step_called("receive")
    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See ParameterSource."""
        return await self._answer(lambda actor: actor.newer_than(version, timeout_s, refused))

    async def _answer(self, ask: Callable[[LearnerActor], Awaitable[T]]) -> T:
        process, actor = self.process, self.actor
        if process is None or actor is None or not process.alive:
            raise Unavailable("learner", "away")
        token = running.set(process)
        try:
            return await ask(actor)
        except Crash as crash:
            raise Unavailable("learner", "it ended") from crash
        finally:
            running.reset(token)


@dataclass
class FollowerProcessHandle:
    """A shard or a replica in the process that it lives in now."""

    process: Process
    follower: Follower
    background: asyncio.Task[None] | None = None
    """FollowerProcessHandle all the time, where runs are not in lock-step."""

    def check(self) -> None:
        """Raise what the background found; that its process ended is known."""
        if self.background is not None and self.background.done():
            error = self.background.exception()
            if error is not None and not isinstance(error, Crash):
                raise error


@dataclass(kw_only=True)
class ShardProcessHandle(FollowerProcessHandle):
    """With its loop and what it reads."""

    shard: Shard
    source: MemorySource


def alive(process: Process | None) -> bool:
    """Whether there is such a process, and it has not ended."""
    return process is not None and process.alive
