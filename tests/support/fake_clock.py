"""A clock that tests set, and a way to let every task that is ready run."""

from __future__ import annotations

import asyncio


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
