"""Examples on their way to the learner: span after span, each until it is applied."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Progress
from freshrank.actors.protocols import Differentiator, GradientSink
from freshrank.feature_actors.partition.partition import PartitionState

# Seconds between tries while the learner is away: the first, and the longest after doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0
# Seconds before a refused span is offered again: newer weights may arrive in between.
REFUSED_PAUSE_S = 0.005


class Pusher:
    """Offers the spans of `states` to the learner, one at a time.

    Parameters
    ----------
    differentiator
        Computes the gradients here; None: the examples are sent.
    timeout_s
        Longer than this no answer is waited for.
    """

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        learner: GradientSink,
        differentiator: Differentiator | None,
        clock: Clock,
        timeout_s: float,
    ) -> None:
        self._states = states
        self._learner = learner
        self._differentiator = differentiator
        self._clock = clock
        self._timeout_s = timeout_s
        self._woken = asyncio.Event()
        self.spans = 0
        """Applied."""
        self.stale = 0
        """Refused, for the weights were too old; computed again."""
        self.trouble: str | None = None
        """Why nothing can be pushed at present."""

    def wake(self) -> None:
        """There may be examples."""
        self._woken.set()

    async def run(self) -> None:
        """Push whenever woken, for ever. Raises ProgressError (see `ExampleQueue.answer`)."""
        away = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                await self.push()
                away.reset()
            except Unavailable as error:
                self.trouble = str(error)
                self._woken.set()
                await self._clock.sleep(away.next_s())

    async def push(self) -> None:
        """Offer all spans until none is left. Raises Unavailable, ProgressError."""
        for state in self._states.values():
            while not state.replaying and await self._push_one(state):
                pass
        self.trouble = None

    async def push_next(self, partition: int) -> None:
        """Offer the next span of one partition. Raises Unavailable, ProgressError."""
        state = self._states[partition]
        if not state.replaying:
            await self._push_one(state)
        self.trouble = None

    async def refresh(self) -> None:
        """Ask what has become durable, where examples are kept that were applied."""
        for state in self._states.values():
            if not state.replaying and state.example_queue.examples > state.example_queue.unsent:
                state.example_queue.acknowledge(await self.ask(state.partition))

    async def ask(self, partition: int) -> Progress:
        """What the learner has of `partition`. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._learner.progress(partition)
        except TimeoutError as error:
            raise self._silent() from error

    async def _push_one(self, state: PartitionState) -> bool:
        examples = state.example_queue.peek()
        if examples is None:
            return False
        work = self._differentiator.gradient(examples) if self._differentiator else examples
        try:
            async with asyncio.timeout(self._timeout_s):
                progress = await self._learner.push(work)
        except TimeoutError as error:
            raise self._silent() from error
        state.example_queue.acknowledge(progress)
        if progress.accepted:
            self.spans += 1
        else:
            self.stale += progress.stale
            await self._clock.sleep(REFUSED_PAUSE_S)
        return True

    def _silent(self) -> Unavailable:
        return Unavailable("learner", f"no answer within {self._timeout_s} s")
