"""Handles of the simulated parts: which process each lives in, and how the others call it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from freshrank.actors.errors import ChecksumMismatch, ProgressError, Unavailable
from freshrank.actors.messages import Delta, Examples, Gradient, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import Progress
from freshrank.benchmarks.crashes.invariants import Difference
from freshrank.benchmarks.crashes.process import Crash, Process, current_process, step_called
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor

T = TypeVar("T")


class LearnerProcessHandle:
    """The learner as shards and replicas call it.

    A call raises Unavailable while there is no learner, and when it crashes during the call.
    """

    def __init__(self) -> None:
        self.process: Process | None = None
        self.actor: LearnerActor | None = None

    @property
    def alive(self) -> bool:
        """Whether a learner has been started and has not crashed."""
        return self.process is not None and self.process.alive

    @step_called("send gradient")
    async def push(self, work: Gradient | Examples) -> Progress:
        """See GradientSink."""
        return await self._call(lambda actor: actor.push(work))

    @step_called("ask")
    async def progress(self, partition: int) -> Progress:
        """See GradientSink."""
        return await self._call(lambda actor: actor.progress(partition))

    @step_called("receive")
    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        """See ParameterSource."""
        return await self._call(lambda actor: actor.newer_than(version, timeout_s, refused))

    async def _call(self, method: Callable[[LearnerActor], Awaitable[T]]) -> T:
        process, actor = self.process, self.actor
        if process is None or actor is None or not process.alive:
            raise Unavailable("learner", "it is away")
        token = current_process.set(process)
        try:
            return await method(actor)
        except Crash as crash:
            raise Unavailable("learner", "it crashed") from crash
        finally:
            current_process.reset(token)


@dataclass
class FollowerProcessHandle:
    """A part that follows the weights (a replica, a shard), and the process that it lives in."""

    process: Process
    follower: Follower
    background: asyncio.Task[None] | None = None
    """Follows all the time in asynchronous runs; None in lock-step."""

    def check(self) -> None:
        """Raise what ended the background task, unless that is the crash of its process."""
        if self.background is not None and self.background.done():
            error = self.background.exception()
            if error is not None and not isinstance(error, Crash):
                raise error


@dataclass(kw_only=True)
class ShardProcessHandle(FollowerProcessHandle):
    """A shard, its event source, and the process that it lives in."""

    shard: Shard
    source: MemorySource


async def run_in(process: Process, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` in `process` if that is alive; an error that a supervisor mends ends it."""
    if not process.alive:
        return
    token = current_process.set(process)
    try:
        await work()
    except (Unavailable, ChecksumMismatch):
        pass  # the learner was away, or all weights are requested in the next round
    except (Crash, ProgressError):
        process.alive = False
    finally:
        current_process.reset(token)


def only_unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Handle an error of a background task (`set_exception_handler`): crashes are no news."""
    if not isinstance(context.get("exception"), Crash | Difference):
        loop.default_exception_handler(context)
