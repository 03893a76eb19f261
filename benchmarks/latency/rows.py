"""How long until an event can be read in the online store, directly and through the exchange.

A feature shard runs in a process of its own with the demo's feature views, on real Kafka and real
Redis. Another process writes events in an open loop, a thousand and five thousand a second. Probes
are events of users without another event, begun twenty times a second whatever became of those
before: each measures the time from just before the send until the user's row can be read in Redis,
which is tried every millisecond. The stamps of the topics say where the time went
(`row_stages`). *Keyed*: the topic is keyed by the user. *Exchanged*: its records lie in any
partition and are copied to where the user belongs first. `freshrank bench exchange` measures rows
of items in the same way.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.runtime import freeze_heap
from freshrank.benchmarks.latency import traffic_host
from freshrank.benchmarks.latency.row_stages import Sighting, broker_stamps, stages
from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, latency_figures, must_be_zero
from freshrank.benchmarks.throughput import ingest_host
from freshrank.benchmarks.workloads.shop_fixture import external_servers, shop_file
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.streams.stream import Stream
from freshrank.serve.scoring.feature_reader import FeatureReader

RATES = (1_000, 5_000)
# Seconds of each measurement: 400 probes, of which a 99th percentile leaves out four.
SECONDS, PROBES_PER_S = 20.0, 20
# Seconds between two reads of the store.
READ_S = 0.001
# Milliseconds within which the row of a probe is to be readable: that of the design's table.
REACH_MS = {ingest_host.KEYED: 20.0, ingest_host.ANY: 60.0, ingest_host.ITEM: 60.0}
# Seconds to start the shard on two busy cores, and to wait for a row.
START_S, TIMEOUT_S = 120.0, 10.0
NAMES = {ingest_host.KEYED: "keyed", ingest_host.ANY: "exchanged", ingest_host.ITEM: "item"}
# The item of the first probe: beyond those of the traffic.
FIRST_ITEM = traffic_host.FIRST_ITEM + 1


@dataclass(slots=True)
class RowLatencies:
    """The findings of the probes of a measurement."""

    latencies_ms: list[float] = field(default_factory=list)
    missing: int = 0
    """Probes whose row could not be read within `TIMEOUT_S`."""
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    """By stage (`row_stages`): its part of each latency."""
    cpu_us: float = math.nan
    """CPU time of the shard's process for each event."""


@dataclass(frozen=True, slots=True)
class _Measurement:
    """A shard under a steady rate."""

    kafka: KafkaAccess
    redis_url: str
    folder: Path
    rate: int
    keys: str
    """`KEYED` or `ANY` of `ingest_host`, for example."""
    seconds: float

    async def run(self) -> RowLatencies:
        """Start the shard, wait until it writes rows, measure, and let it end."""
        name = f"bench-{time.time_ns():x}"
        # With a partition less than the copies have, each holds keys of all of these.
        partitions = Settings().kafka.partitions - (self.keys == ingest_host.ANY)
        await ensure_topics(self.kafka, [name, f"{name}.dead", f"{name}.late"], partitions)
        count = int(self.rate * self.seconds)
        probes = int(PROBES_PER_S * self.seconds)
        total = 1 + count + probes
        where = [self.kafka.bootstrap, self.redis_url, name, name, str(self.folder / name)]
        shard = self._process(ingest_host.__name__, [*where, str(total), self.keys])
        of_items = self.keys == ingest_host.ITEM
        async with _prober(self.kafka, self.redis_url, name, of_items) as prober:
            if await prober.measure(probes, START_S) is None:
                if shard.done():
                    await shard
                raise Unavailable("shard", f"it wrote no row within {START_S} s")
            traffic = self._process(
                traffic_host.__name__, [self.kafka.bootstrap, name, str(self.rate), str(count)]
            )
            await prober.until_traffic()
            found = await prober.open_loop(probes)
            await traffic
        ended = msgspec.json.decode(await shard, type=ingest_host.IngestResult)
        found.cpu_us = 1e6 * ended.cpu_seconds / total
        copies = prober.source.log_topic if prober.source.rekeyed else None
        stamps = await broker_stamps(self.kafka, name, copies)
        found.stages_ms = stages(prober.sightings, stamps)
        return found

    def _process(self, module: str, arguments: Sequence[str]) -> asyncio.Task[bytes]:
        """Run a module in a process of its own, to its end."""
        limit_s = START_S + 2 * self.seconds
        return asyncio.create_task(asyncio.to_thread(run_module, module, arguments, limit_s))


@asynccontextmanager
async def _prober(
    kafka: KafkaAccess, redis_url: str, name: str, of_items: bool
) -> AsyncIterator[_Prober]:
    sink, store = KafkaSink(kafka), RedisStore(redis_url, f"fr:{name}")
    await sink.start()
    try:
        yield _Prober(name, sink, store, of_items)
    finally:
        await store.close()
        await sink.stop()


class _Prober:
    """Sends events to `topic`, which is the pipeline's name too, and reads rows."""

    def __init__(self, topic: str, sink: KafkaSink, store: RedisStore, of_items: bool) -> None:
        self.sightings: list[Sighting] = []
        """Of the probes of `open_loop`."""
        self._topic = topic
        self._sink = sink
        self._reader = FeatureReader(store, SystemClock(), TIMEOUT_S, partitions=0)
        self._clock = SystemClock()
        self._of_items = of_items
        pipeline = shop_file(topic, topic, of_items=of_items).load()
        self._plan = pipeline.plans["item" if of_items else "user"].tables[0]

    @property
    def source(self) -> Stream:
        """The stream that rows are made of."""
        return self._plan.source

    async def until_traffic(self) -> None:
        """Wait for the first event of the traffic. Raises Unavailable."""
        key = self._key(traffic_host.FIRST_USER, traffic_host.FIRST_ITEM)
        if not await self._reader.read_until([key], lambda rows: rows[0].row is not None, START_S):
            raise Unavailable("traffic", f"it wrote nothing within {START_S} s")

    async def open_loop(self, probes: int) -> RowLatencies:
        """Begin a probe whenever one is due, however long those before take."""
        freeze_heap()  # no pauses of the garbage collector in the process that measures
        found, began_s = RowLatencies(), self._clock.monotonic()

        async def probe(number: int) -> None:
            sighting = await self.measure(number, TIMEOUT_S)
            if sighting is None:
                found.missing += 1
            else:
                self.sightings.append(sighting)
                found.latencies_ms.append(float(sighting.found_ms - sighting.began_ms))

        async with asyncio.TaskGroup() as running:
            for number in range(probes):
                due_s = began_s + number / PROBES_PER_S
                await asyncio.sleep(max(0.0, due_s - self._clock.monotonic()))
                running.create_task(probe(number))
        return found

    async def measure(self, number: int, timeout_s: float) -> Sighting | None:
        """Send the only event of a user and an item, and wait until the row is there.

        None: too long.
        """
        began_ms = asked_ms = missed_ms = self._clock.now_ms()
        user, item = f"probe{number}", FIRST_ITEM + number
        event = ShopEvent(f"{user}-view", user, item, 1, "view", 1.0, began_ms)
        sending = asyncio.create_task(
            self._sink.send(self._topic, user.encode(), msgspec.json.encode(event))
        )
        key = self._key(user, item)
        while not await self._readable(key):
            if asked_ms - began_ms > timeout_s * 1_000:
                sending.cancel()
                return None
            await asyncio.sleep(READ_S)
            missed_ms, asked_ms = asked_ms, self._clock.now_ms()
        found_ms = self._clock.now_ms()
        return Sighting(await sending, began_ms, missed_ms, found_ms)

    def _key(self, user: str, item: int) -> bytes:
        return self._plan.row_key(str(item) if self._of_items else user)

    async def _readable(self, key: bytes) -> bool:
        """Whether there is a row; probes share reads, and what a busy store gives late is late."""
        (found,) = await self._reader.read([key])
        return found.row is not None


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure rows of users, of a topic that is keyed by them and of one that is not."""
    return measure_each(options, console, (ingest_host.KEYED, ingest_host.ANY))


def measure_each(options: BenchOptions, console: Console, ways: Sequence[str]) -> list[Figure]:
    """Start the servers; measure each of the `ways` of `ingest_host` at each rate; stop."""
    seconds = max(1.0, SECONDS * options.scale)
    found: dict[tuple[str, int], RowLatencies] = {}
    with external_servers(options, console) as (outside, folder):
        for rate, keys in itertools.product(RATES, ways):
            with console.status(f"{NAMES[keys]}, {rate:,} events/s"):
                found[keys, rate] = _measured(outside, folder, rate, keys, seconds)
    return figures(found)


def _measured(
    outside: ExternalServers, folder: Path, rate: int, keys: str, seconds: float
) -> RowLatencies:
    kafka = KafkaAccess(outside.broker.bootstrap)
    return uvloop.run(_Measurement(kafka, outside.redis.url, folder, rate, keys, seconds).run())


def figures(found: dict[tuple[str, int], RowLatencies]) -> list[Figure]:
    """Return quantiles, by way and rate."""
    made = []
    for (keys, rate), one in found.items():
        name = f"{NAMES[keys]}_{rate // 1000}k"
        made += latency_figures(name, one.latencies_ms, REACH_MS[keys])
        made.append(Figure(f"{name}_shard_cpu_us", one.cpu_us, "us", "lower"))
        for stage, spent_ms in one.stages_ms.items():
            made += latency_figures(f"{name}_{stage}", spent_ms)
    return [*made, must_be_zero("missing", sum(one.missing for one in found.values()))]
