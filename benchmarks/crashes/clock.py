"""The clock of the simulation."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from freshrank.benchmarks.crashes.recorded_stream import START_MS

# Turns of the event loop in which the tasks that were woken come to rest: a checkpoint takes some
# five.
_TURNS = 10


class SteppedClock:
    """A clock that moves by `advance`, and when the main task sleeps; it wakes background tasks.

    The main task is the one that makes the clock.
    """

    def __init__(self) -> None:
        self._ms = float(START_MS)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._main = asyncio.current_task()

    def now_ms(self) -> int:
        """Return the simulated time, in milliseconds since the Unix epoch."""
        return int(self._ms)

    def monotonic(self) -> float:
        """Return the simulated time in seconds."""
        return self._ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Advance the clock (main task), or wait until it has advanced so far (other tasks)."""
        if asyncio.current_task() is self._main:
            await self.advance(seconds)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._ms + 1000 * seconds, next(self._numbers), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move on, wake the sleepers that are due, and let them run."""
        self._ms += 1000 * seconds
        while self._sleepers and self._sleepers[0][0] <= self._ms:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
        for _ in range(_TURNS):
            await asyncio.sleep(0)
