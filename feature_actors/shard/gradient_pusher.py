"""Pushes examples to the learner: one offset range after the other, each until it is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import Progress
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.ports import Training

# Seconds between tries while the learner is away: the first, and the longest after doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0
# Seconds before a refused range is pushed again: newer weights may arrive meanwhile.
REFUSED_PAUSE_S = 0.005


class GradientPusher:
    """Pushes the offset ranges of `states` to the learner, one at a time.

    Parameters
    ----------
    training
        The learner, and the differentiator that computes the gradients here; without one the
        examples are sent.
    timeout_s
        How long an answer is waited for.
    """

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        training: Training,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._states = states
        self._learner = training.learner
        self._differentiator = training.differentiator
        self._clock = clock
        self._timeout_s = timeout_s
        self._woken = asyncio.Event()
        self.ranges = 0
        """Offset ranges that the learner has applied."""
        self.stale = 0
        """Ranges refused because the weights were too old, and computed again."""
        self.error: str | None = None
        """Why nothing can be pushed at present."""

    def wake(self) -> None:
        """There may be examples."""
        self._woken.set()

    async def run(self) -> None:
        """Push whenever woken, for ever. Raises ProgressError (see `ExampleQueue.acknowledge`)."""
        away = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.push()
                away.reset()
            except Unavailable as error:
                self.error = str(error)
                self._woken.set()
                await self._clock.sleep(away.next_s())

    async def push(self) -> None:
        """Push all ranges until none is left. Raises Unavailable, ProgressError."""
        for state in self._states.values():
            while not state.replaying and await self._push_one(state):
                pass
        self.error = None

    async def push_next(self, partition: int) -> None:
        """Push the next range of one partition. Raises Unavailable, ProgressError."""
        state = self._states[partition]
        if not state.replaying:
            await self._push_one(state)
        self.error = None

    async def refresh(self) -> None:
        """Ask what has become durable, where ranges are kept that were applied."""
        for state in self._states.values():
            queue = state.example_queue
            if not state.replaying and queue.awaits_checkpoint:
                queue.acknowledge(await self.ask(state.partition))

    async def ask(self, partition: int) -> Progress:
        """The learner's progress with `partition`. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._learner.progress(partition)
        except TimeoutError as error:
            raise self._no_answer() from error

    async def _push_one(self, state: PartitionState) -> bool:
        """Push the next range, if there is one; gives whether there was."""
        examples = state.example_queue.peek()
        if examples is None:
            return False
        work = self._differentiator.gradient(examples) if self._differentiator else examples
        try:
            async with asyncio.timeout(self._timeout_s):
                progress = await self._learner.push(work)
        except TimeoutError as error:
            raise self._no_answer() from error
        state.example_queue.acknowledge(progress)
        if progress.accepted:
            self.ranges += 1
        else:
            self.stale += progress.stale
            await self._clock.sleep(REFUSED_PAUSE_S)
        return True

    def _no_answer(self) -> Unavailable:
        return Unavailable("learner", f"no answer within {self._timeout_s} s")
