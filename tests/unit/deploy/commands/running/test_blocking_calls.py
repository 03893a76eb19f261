"""Calls that block: their results, and what a stop knows of those under way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from freshrank.deploy.commands.running.blocking_calls import BlockingCalls


def held(test: Callable[[BlockingCalls, threading.Event], Awaitable[None]]) -> None:
    """Run `test`, and let the threads that wait for the event end whatever comes of it."""
    release = threading.Event()

    async def run() -> None:
        try:
            await test(BlockingCalls(), release)
        finally:
            release.set()

    asyncio.run(run())


def test_a_call_gives_what_it_returns_or_raises_what_it_raises() -> None:
    async def test(calls: BlockingCalls, release: threading.Event) -> None:
        assert await calls.run(int, "7") == 7
        with pytest.raises(ValueError, match="seven"):
            await calls.run(int, "seven")
        assert await calls.settled(0.0)

    held(test)


def test_a_call_stays_pending_when_its_caller_is_cancelled() -> None:
    async def test(calls: BlockingCalls, release: threading.Event) -> None:
        caller = asyncio.ensure_future(calls.run(release.wait))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        assert not await calls.settled(0.0)
        release.set()
        assert await calls.settled(10.0)

    held(test)


def test_the_error_of_an_abandoned_call_is_not_raised_by_the_stop() -> None:
    async def test(calls: BlockingCalls, release: threading.Event) -> None:
        caller = asyncio.ensure_future(calls.run(lambda: int("x" * release.wait())))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        release.set()
        assert await calls.settled(10.0)

    held(test)
