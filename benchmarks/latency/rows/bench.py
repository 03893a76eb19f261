"""How long until an event can be read in the online store, directly and through the exchange.

A feature shard runs in a process of its own with the demo's feature views, on real Kafka and real
Redis. Another process writes events in an open loop, a thousand and five thousand a second. Probes
are events of users without another event (`row_probes`): each measures the time from just before
the send until the user's row can be read in Redis. The stamps of the topics say where the time went
(`row_stages`). *Keyed*: the topic is keyed by the user. *Exchanged*: its records lie in any
partition and are copied to where the user belongs first. `freshrank bench exchange` measures rows
of items in the same way.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console

from freshrank.actors.clock import SystemClock
from freshrank.benchmarks.latency.rows.row_probes import (
    START_S,
    TIMEOUT_S,
    EventLoad,
    RowLatencies,
    events_in_all,
    prober,
)
from freshrank.benchmarks.latency.rows.row_stages import broker_stamps, stages
from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, latency_figures, must_be_zero
from freshrank.benchmarks.throughput import ingest_host
from freshrank.benchmarks.workloads.shared_job import job_file
from freshrank.benchmarks.workloads.shop_fixture import external_servers, shop_file
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.views.table_plan import TablePlan
from freshrank.serve.scoring.feature_reader import FeatureReader

RATES = (1_000, 5_000)
# Seconds of each measurement: 400 probes, of which a 99th percentile leaves out four.
SECONDS = 20.0
# Milliseconds within which the row of a probe is to be readable: that of the design's table.
REACH_MS = {ingest_host.KEYED: 20.0, ingest_host.ANY: 60.0, ingest_host.ITEM: 60.0}
NAMES = {ingest_host.KEYED: "keyed", ingest_host.ANY: "exchanged", ingest_host.ITEM: "item"}


@dataclass(frozen=True, slots=True)
class OwnRows:
    """The rows that a shard writes, by the plan of their table."""

    plan: TablePlan
    reader: FeatureReader
    of_items: bool

    async def readable(self, user: str, item: int) -> bool:
        """Whether there is a row of the user, or of the item."""
        key = self.plan.row_key(str(item) if self.of_items else user)
        (found,) = await self.reader.read([key])
        return found.row is not None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A shard under steady rates, of which each follows the one before."""

    kafka: KafkaAccess
    redis_url: str
    folder: Path
    keys: str
    """`KEYED` or `ANY` of `ingest_host`, for example."""
    loads: Sequence[EventLoad]

    async def run(self) -> list[RowLatencies]:
        """Start the shard, wait until it writes rows, measure, and let it end."""
        name = f"bench-{time.time_ns():x}"
        # With a partition less than the copies have, each holds keys of all of these.
        partitions = Settings().kafka.partitions - (self.keys == ingest_host.ANY)
        await ensure_topics(self.kafka, [name, f"{name}.dead", f"{name}.late"], partitions)
        of_items = self.keys == ingest_host.ITEM
        file = (
            job_file(name, name)
            if self.keys == ingest_host.JOB
            else shop_file(name, name, of_items=of_items)
        )
        plan = file.load().plans["item" if of_items else "user"].tables[0]
        store = RedisStore(self.redis_url, f"fr:{name}")
        reader = FeatureReader(store, SystemClock(), TIMEOUT_S, partitions=0)
        shard = asyncio.create_task(asyncio.to_thread(self._shard, name))
        try:
            async with prober(self.kafka, name, OwnRows(plan, reader, of_items)) as probes:
                await probes.until_written(shard)
                found = [await probes.under_load(load) for load in self.loads]
        finally:
            await store.close()
        ended = msgspec.json.decode(await shard, type=ingest_host.IngestResult)
        copies = plan.source.log_topic if plan.source.rekeyed else None
        stamps = await broker_stamps(self.kafka, name, copies)
        for one in found:
            one.cpu_us = 1e6 * ended.cpu_seconds / events_in_all(self.loads)
            one.stages_ms = stages(one.sightings, stamps)
        return found

    def _shard(self, name: str) -> bytes:
        """Run the shard in a process of its own, to its end."""
        where = [self.kafka.bootstrap, self.redis_url, name, name, str(self.folder / name)]
        arguments = [*where, str(events_in_all(self.loads)), self.keys]
        limit_s = START_S + 2 * sum(TIMEOUT_S + load.seconds for load in self.loads)
        return run_module(ingest_host.__name__, arguments, limit_s)


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Measure rows of users, of a topic that is keyed by them and of one that is not."""
    return measure_each(options, console, (ingest_host.KEYED, ingest_host.ANY))


def measure_each(options: BenchOptions, console: Console, ways: Sequence[str]) -> list[Figure]:
    """Start the servers; measure each of the `ways` of `ingest_host` at each rate; stop."""
    found: dict[tuple[str, int], RowLatencies] = {}
    with external_servers(options, console) as (outside, folder):
        for rate, keys in itertools.product(RATES, ways):
            with console.status(f"{NAMES[keys]}, {rate:,} events/s"):
                (found[keys, rate],) = measured(outside, folder, keys, [load_of(rate, options)])
    return figures(found)


def load_of(rate: int, options: BenchOptions) -> EventLoad:
    """The load of a measurement, by the bench's scale."""
    return EventLoad(rate, max(1.0, SECONDS * options.scale))


def measured(
    outside: ExternalServers, folder: Path, keys: str, loads: Sequence[EventLoad]
) -> list[RowLatencies]:
    """Measure a shard under each of the loads."""
    kafka = KafkaAccess(outside.broker.bootstrap)
    return uvloop.run(Measurement(kafka, outside.redis.url, folder, keys, loads).run())


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
