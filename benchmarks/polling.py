"""Wait for a condition of a running system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from freshrank.actors.errors import Unavailable

T = TypeVar("T")

INTERVAL_S = 0.1
"""Between two polls, where no other interval is given: small beside a restart of a process."""


async def wait_for(
    poll: Callable[[], Awaitable[T | None]],
    timeout_s: float,
    part: str,
    problem: str,
    interval_s: float = INTERVAL_S,
) -> T:
    """Call `poll` every `interval_s` until its result is true; return that result.

    Raises Unavailable, naming `part` and `problem`, when none was true within `timeout_s`.

    >>> polls = iter([None, 0, 7])
    >>> async def poll() -> int | None:
    ...     return next(polls)
    >>> asyncio.run(wait_for(poll, 1.0, "shard", "it has no epoch", interval_s=0.0))
    7
    """
    deadline = time.monotonic() + timeout_s
    while not (found := await poll()):
        if time.monotonic() > deadline:
            raise Unavailable(part, f"{problem} after {timeout_s:g} s")
        await asyncio.sleep(interval_s)
    return found


class Standstill:
    """Ends a wait for figures that move no more.

    Parameters
    ----------
    part
        Named in the error.
    longest_s
        Seconds for which all figures may stay as they are.

    >>> still = Standstill("shard", longest_s=30.0)
    >>> for now_s, applied in enumerate([5, 7, 7]):
    ...     still.check({"applied": applied}, 10.0 * now_s)
    >>> still.check({"applied": 7}, 41.0)
    Traceback (most recent call last):
    freshrank.actors.errors.Unavailable: shard: nothing has moved for 30 s: applied 7
    """

    def __init__(self, part: str, longest_s: float) -> None:
        self._part = part
        self._longest_s = longest_s
        self._seen: Mapping[str, int] = {}
        self._since_s = 0.0

    def check(self, figures: Mapping[str, int], now_s: float) -> None:
        """Take the figures of `now_s` (monotonic seconds).

        Raises Unavailable, which tells them, when they have been the same for too long.
        """
        if figures != self._seen:
            self._seen, self._since_s = dict(figures), now_s
        elif now_s - self._since_s >= self._longest_s:
            told = ", ".join(f"{name} {value}" for name, value in figures.items())
            problem = f"nothing has moved for {self._longest_s:g} s: {told}"
            raise Unavailable(self._part, problem)
