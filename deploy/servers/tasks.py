"""Work that belongs together on an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable


async def run_together(works: Iterable[Awaitable[None]]) -> None:
    """Run all of `works` at the same time; the first error cancels the others and is raised.

    Unlike those of `asyncio.TaskGroup`, the error is raised as it is.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
