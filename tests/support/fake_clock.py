"""The clock of the tests: it stands until a test moves it."""

from __future__ import annotations

import asyncio

# Turns of the event loop in which a task and the tasks that it wakes come to rest: a checkpoint of
# the learner takes some twenty.
_TURNS = 50


class FakeClock:
    """A `Clock` whose time passes by `sleep`, by `advance`, and by setting `ms`.

    Parameters
    ----------
    now_ms
        Where it begins, in milliseconds since the Unix epoch.
    """

    def __init__(self, now_ms: float = 0.0) -> None:
        self.ms = float(now_ms)
        self.slept: list[float] = []
        """The seconds of each sleep."""

    def now_ms(self) -> int:
        return int(self.ms)

    def monotonic(self) -> float:
        return self.ms / 1000.0

    async def sleep(self, seconds: float) -> None:
        """Move the clock, then let every other task that is ready run once."""
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.ms += seconds * 1000.0


class ManualClock(FakeClock):
    """A fake clock whose sleepers wait until a test moves it, by `tick`, to when they are due."""

    def __init__(self, now_ms: float = 0.0) -> None:
        super().__init__(now_ms)
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        due = asyncio.Event()
        self._sleepers.append((self.ms + seconds * 1000.0, due))
        await due.wait()

    async def tick(self, seconds: float) -> None:
        """Move the clock, wake the sleepers that are due, and let them run."""
        self.advance(seconds)
        for at_ms, due in self._sleepers:
            if at_ms <= self.ms:
                due.set()
        self._sleepers = [one for one in self._sleepers if not one[1].is_set()]
        await settle()


async def settle() -> None:
    """Let every task run until it waits for something other than another task."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)
