"""Time as an argument: the real clock, and the form that every other clock has to take."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What a part may know of time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch: to stamp and to compare with event times."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: to measure and to wait by."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after `seconds`."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)
