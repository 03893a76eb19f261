"""Calls that block, off the event loop; a stop waits for them, but not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class BlockingCalls:
    """Runs them in threads and remembers which are under way: a thread cannot be interrupted."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[Any]] = set()

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call it and wait; who is cancelled while waiting leaves it under way."""
        calling = asyncio.ensure_future(asyncio.to_thread(function, *args))
        self._under_way.add(calling)
        return await asyncio.shield(calling)

    async def settled(self, timeout_s: float) -> bool:
        """Wait until none is under way; False when one still is after `timeout_s`."""
        if not self._under_way:
            return True
        ended, self._under_way = await asyncio.wait(self._under_way, timeout=timeout_s)
        for call in ended:
            call.exception()  # who waited for it has it, or has left
        return not self._under_way
