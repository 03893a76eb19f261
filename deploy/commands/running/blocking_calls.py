"""Work side by side: calls that block, in threads, and coroutines that end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
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


async def until_first(*works: Coroutine[Any, Any, None]) -> None:
    """Run all of `works` until the first has ended, and cancel the others.

    Raises the error of the first, in the order of the arguments, that has ended with one.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):  # a CancelledError is none
            raise result
