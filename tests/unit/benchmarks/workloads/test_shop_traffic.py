"""Work in the background of a block."""

from __future__ import annotations

import asyncio

import pytest

from freshrank.benchmarks.workloads.shop_traffic import background


async def fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("planted")


def test_an_error_in_the_background_ends_the_block_that_waits() -> None:
    async def block() -> None:
        async with background(fail()):
            await asyncio.Event().wait()

    with pytest.raises(ValueError, match="planted"):
        asyncio.run(block())


def test_a_block_that_is_cancelled_stays_cancelled_and_cancels_its_background() -> None:
    seen: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    async def block() -> None:
        async with background(wait()):
            await asyncio.Event().wait()

    async def test() -> None:
        task = asyncio.create_task(block())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(test())
    assert seen == ["ended"]
