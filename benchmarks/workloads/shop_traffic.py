"""Shoppers at a running system: they are shown items and click, which gives examples."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import numpy as np

from freshrank.actors.clock import SystemClock
from freshrank.deploy.servers.http_client import KeepAliveClient
from freshrank.examples.shop.shoppers import Shop
from freshrank.examples.shop.traffic import Rates, Traffic

# Enough examples for a version of the weights in each moment.
RATES = Rates(events_per_s=500.0, impressions_per_s=200.0)


def _nothing(status: int, body: bytes) -> None:
    """Nobody listens."""


@contextlib.asynccontextmanager
async def shoppers(
    port: int,
    write: Callable[[bytes, bytes], None],
    heard: Callable[[int, bytes], None] = _nothing,
) -> AsyncIterator[None]:
    """Shop until the block ends.

    `write` takes key and value of each event, `heard` status and body of each answer to a score;
    they are asked for one after another.
    """
    client = KeepAliveClient("127.0.0.1", port)

    async def send(key: bytes, value: bytes) -> None:
        write(key, value)

    async def ask(body: bytes) -> tuple[int, bytes]:
        status, answer = await client.post("/v1/score", body)
        heard(status, answer)
        return status, answer

    shop = Shop(np.random.default_rng(0), run=f"{time.time_ns():x}")
    async with client, beside(Traffic(shop, RATES, SystemClock(), send, ask).run()):
        yield


@contextlib.asynccontextmanager
async def beside(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run `work` until the block ends; raises what ended it before."""
    task = asyncio.ensure_future(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
