"""Wait for a condition of a running system."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
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
