"""Time as an argument: the protocol of clocks, and the system's clock."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The time, as a component sees it."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch: for stamps, and to compare with event times."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start that never go back: to measure durations."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Wall-clock milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)
