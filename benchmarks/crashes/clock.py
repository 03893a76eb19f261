"""The clock of the simulation."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from freshrank.benchmarks.crashes.recorded_stream import START_MS

# Turns of the event loop in which whoever was woken comes to rest: a checkpoint takes some five.
_SETTLE = 10


class SteppedClock:
    """Moves when told to, and when the main task sleeps; background tasks are woken by it.

    Made by the main task.
    """

    def __init__(self) -> None:
        self._ms = float(START_MS)
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._main = asyncio.current_task()

    def now_ms(self) -> int:
        """Simulated."""
        return int(self._ms)

    def monotonic(self) -> float:
        """Simulated."""
        return self._ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Until the clock is that far."""
        if asyncio.current_task() is self._main:
            await self.advance(seconds)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._ms + 1000 * seconds, next(self._numbers), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Move on, and let those go on whose time has come."""
        self._ms += 1000 * seconds
        while self._sleepers and self._sleepers[0][0] <= self._ms:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)
        for _ in range(_SETTLE):
            await asyncio.sleep(0)
