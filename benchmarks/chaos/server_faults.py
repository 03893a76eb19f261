"""Faults of the servers and of the machine that the system works on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from freshrank.benchmarks.chaos.detection import not_ready
from freshrank.benchmarks.chaos.faults import Fault, Handles


@contextlib.asynccontextmanager
async def _store_away(handles: Handles) -> AsyncIterator[None]:
    redis = handles.outside.redis
    await asyncio.to_thread(redis.kill)
    yield
    await asyncio.to_thread(redis.start)


@contextlib.asynccontextmanager
async def _broker_away(handles: Handles) -> AsyncIterator[None]:
    broker = handles.outside.broker
    await asyncio.to_thread(broker.stop)
    yield
    await asyncio.to_thread(broker.start)


STORE = Fault(
    "Redis is killed, and comes back empty",
    _store_away,
    not_ready("online_store", "shard-0"),
    lasts_s=(0.5, 3.0),
)
BROKER = Fault("Kafka is away", _broker_away, not_ready("shard-0", "shards"), lasts_s=(20.0, 20.0))
