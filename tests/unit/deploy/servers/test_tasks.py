import asyncio

import pytest

from freshrank.deploy.servers.tasks import run_together


def test_the_first_error_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("waiting")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("first")

    async def story() -> None:
        with pytest.raises(KeyError, match="first"):
            await run_together([wait(), fail(), wait()])
        assert ended == ["waiting", "waiting"]

    asyncio.run(story())


def test_a_cancelled_caller_ends_all() -> None:
    ended: list[int] = []

    async def wait(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    async def story() -> None:
        together = asyncio.create_task(run_together(wait(number) for number in range(3)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        together.cancel()
        with pytest.raises(asyncio.CancelledError):
            await together
        assert ended == [0, 1, 2]

    asyncio.run(story())
