"""Faults of the servers that the system works with, and of the machine that it works on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from collections.abc import AsyncIterator

import redis.asyncio
from redis.exceptions import OutOfMemoryError

from freshrank.actors.alerts import AlertKind
from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.chaos.detection import Observation, alerted, every, not_ready, slow
from freshrank.benchmarks.chaos.faults import Fault, Handles
from freshrank.benchmarks.chaos.producer_faults import Habit, writing
from freshrank.benchmarks.chaos.topic_admin import make_topic
from freshrank.benchmarks.workloads.shop_traffic import background
from freshrank.deploy.servers.processes.child import Child

# Bytes of the values of the client that fills Redis: a value takes memory also while it is refused,
# so that smaller ones find room afterwards. Seconds between its tries to write more.
FILLER_BYTES, REFILL_S = (1_000_000, 10_000, 500), 0.05
# Processes that never rest, beside the system: the machine's load.
LOAD = 20


@contextlib.asynccontextmanager
async def _store_away(handles: Handles) -> AsyncIterator[Observation]:
    store = handles.outside.redis
    before = handles.observer.newest
    await asyncio.to_thread(store.kill)
    yield before
    await asyncio.to_thread(store.start)


@contextlib.asynccontextmanager
async def _store_full(handles: Handles) -> AsyncIterator[Observation]:
    """Another client fills Redis, and within the block whatever memory becomes free."""
    names = (f"filler-{number}" for number in itertools.count())
    written: list[str] = []

    async def fill(client: redis.asyncio.Redis) -> None:
        for size in FILLER_BYTES:
            with contextlib.suppress(OutOfMemoryError):
                for name in names:
                    await client.set(name, bytes(size))
                    written.append(name)

    async def refill_forever(client: redis.asyncio.Redis) -> None:
        while True:
            await handles.clock.sleep(REFILL_S)
            await fill(client)

    # With a timeout for commands the client may lose the cancellation that ends `background`.
    url = handles.outside.redis.url
    async with redis.asyncio.Redis.from_url(url, socket_timeout=None) as client:
        before = handles.observer.newest
        await fill(client)
        async with background(refill_forever(client)):
            yield before
        await client.unlink(*written)


@contextlib.asynccontextmanager
async def _broker_away(handles: Handles) -> AsyncIterator[Observation]:
    broker = handles.outside.broker
    before = handles.observer.newest
    await asyncio.to_thread(broker.stop)
    yield before
    await asyncio.to_thread(broker.start)


@contextlib.asynccontextmanager
async def _topic_made_anew(handles: Handles) -> AsyncIterator[Observation]:
    """Delete the stream's topic and make it again; none of its new records may be applied."""
    bootstrap, topic = handles.bootstrap, handles.pipeline.stream.topic

    async def applied() -> int:
        counted: int = (await handles.client.statuses())["shard-0"]["events"]
        return counted

    events = await applied()
    before = handles.observer.newest
    await make_topic(bootstrap, topic, handles.partitions)
    async with writing(handles, (Habit(),)):
        yield before
    if await applied() != events:
        raise Unavailable("shard-0", "it has applied events of a topic that was made anew")


@contextlib.asynccontextmanager
async def _busy_machine(handles: Handles) -> AsyncIterator[Observation]:
    command, log = [sys.executable, "-c", "while True: pass"], handles.process.log.with_name("busy")
    before = handles.observer.newest
    busy = [Child("load", command, log) for _ in range(LOAD)]
    try:
        yield before
    finally:
        for process in busy:
            process.stop(grace_s=0)


STORE = Fault(
    "Redis is killed, and comes back empty",
    _store_away,
    not_ready("online_store", "shard-0"),
    lasts_s=(0.5, 3.0),
)
STORE_FULL = Fault(
    "Redis is full",
    _store_full,
    every(alerted(AlertKind.STORE_FULL), not_ready("shard-0")),
    lasts_s=(1.0, 3.0),
)
BROKER = Fault("Kafka is away", _broker_away, not_ready("shard-0", "shards"), lasts_s=(20.0, 20.0))
BUSY = Fault(
    f"the machine is busy: {LOAD} processes beside the system",
    _busy_machine,
    slow(p50_ms=50.0),
    lasts_s=(20.0, 20.0),
)

# After it the state and the log do not belong together: the system is of no more use.
TOPIC_MADE_ANEW = Fault(
    "the topic is deleted and made anew",
    _topic_made_anew,
    every(alerted(AlertKind.LOG_CHANGED), not_ready("shard-0")),
    lasts_s=(2.0, 2.0),
)
