"""Blocking calls in threads, off the event loop; a stop waits for them for a limited time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class BlockingCalls:
    """Runs calls in threads, and keeps those that have not returned: no thread can be cancelled."""

    def __init__(self) -> None:
        self._pending: set[asyncio.Future[Any]] = set()

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call `function` and wait for its result.

        When the caller is cancelled the call goes on, and stays pending.
        """
        call = asyncio.ensure_future(asyncio.to_thread(function, *args))
        self._pending.add(call)
        return await asyncio.shield(call)

    async def settled(self, timeout_s: float) -> bool:
        """Wait until no call is pending; False when one still is after `timeout_s`."""
        if not self._pending:
            return True
        ended, self._pending = await asyncio.wait(self._pending, timeout=timeout_s)
        for call in ended:
            call.exception()  # marks it as retrieved: its caller has it, or was cancelled
        return not self._pending
