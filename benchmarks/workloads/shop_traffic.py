"""Shoppers at a running system: they ask for scores and click on items, which makes examples."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, ShopTraffic

# Enough examples that the learner publishes versions all the time.
RATES = Rates(events_per_s=500.0, impressions_per_s=200.0)


def _ignore(status: int, body: bytes) -> None:
    """Take an answer and do nothing with it."""


@contextlib.asynccontextmanager
async def shoppers(
    port: int,
    write: Callable[[bytes, bytes], None],
    answered: Callable[[int, bytes], None] = _ignore,
) -> AsyncIterator[None]:
    """Let shoppers use the endpoint on `port` within the block.

    Parameters
    ----------
    port
        Of the endpoint, on this machine.
    write
        Called with key and value of each event.
    answered
        Called with status and body of each answer to POST /v1/score, in the order of the requests:
        each is sent after the answer to the one before.
    """
    client = KeepAliveClient("127.0.0.1", port)

    async def send(key: bytes, value: bytes) -> None:
        write(key, value)

    async def ask(path: str, body: bytes) -> tuple[int, bytes]:
        status, answer = await client.post(path, body)
        answered(status, answer)
        return status, answer

    shop = Shop(np.random.default_rng(0), run=f"{time.time_ns():x}")
    async with client, background(ShopTraffic(shop, RATES, SystemClock(), send, ask).run()):
        yield


@contextlib.asynccontextmanager
async def background(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run `work` within the block and cancel it after; an error of it ends the block at once."""
    task, block = asyncio.ensure_future(work), asyncio.current_task()
    assert block is not None
    failed = False

    def end_block(ended: asyncio.Future[None]) -> None:
        nonlocal failed
        failed = not ended.cancelled() and ended.exception() is not None
        if failed:
            block.cancel()

    task.add_done_callback(end_block)
    try:
        yield
    except asyncio.CancelledError:
        if failed and block.uncancel() == 0:
            task.result()
        raise
    finally:
        task.remove_done_callback(end_block)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
