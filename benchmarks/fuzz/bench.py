"""Bad input, much of it: records that nobody should send, and requests that a schema suggests.

Everything is in memory: the shards read the records out of a log, and the requests reach the demo
pipeline's endpoint without a socket. What the endpoint wrote to the topics is read then, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from starlette.applications import Starlette

from freshrank.actors.clock import SystemClock
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.messages import RejectedRecord
from freshrank.benchmarks.fuzz.api import Asked, ask_all
from freshrank.benchmarks.fuzz.impressions import impressions
from freshrank.benchmarks.fuzz.records import events
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.workloads.record_accounting import (
    Fate,
    Place,
    Sent,
    pipeline,
    unaccounted,
)
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.config.settings import ServeSettings, Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.shard.status import totals
from freshrank.serve.http.app import build_app
from freshrank.serve.scoring.service import ScoringService

CASES = 10_000
# How often every kind of record is sent.
ROUNDS = 30
PARTITIONS = 4
# Of a request for a version that will never come: here none does, and many ask for one.
WAIT_MS = 1
# Of chance. The same requests and records each time: a figure that changed was changed by us.
SEED = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of some records."""

    records: int
    problems: Sequence[str]
    """Those that are nowhere, twice, or not where the rules say; [] when all adds up."""
    totals: Mapping[str, int]
    """The counters over all partitions."""
    rejected: Sequence[tuple[str, RejectedRecord]]
    """Side topic and record."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Records first, then requests, then the records that came of these."""
    clock = SystemClock()
    made, now_ms, rounds = pipeline(), clock.now_ms(), max(1, int(ROUNDS * options.scale))
    log = MemoryLog(PARTITIONS)
    sent = fill(log, made.stream.topic, events(SEED, now_ms, rounds), now_ms)
    shown = impressions(made, SEED, now_ms, rounds)
    sent |= fill(log, made.impressions_topic, shown, now_ms)
    taken = asyncio.run(take(made, World(log, clock), sent))
    with console.status("asking"):
        asked, written = ask(int(CASES * options.scale))
    for line in [*taken.problems, *written.problems, *asked.told]:
        console.print(line, markup=False, highlight=False)
    return [
        Figure("cases", asked.cases, "count", "higher"),
        Figure("server_errors", asked.server_errors, "count", "lower", 0),
        Figure("schema_violations", asked.violations, "count", "lower", 0),
        Figure("records", taken.records + written.records, "count", "higher"),
        Figure(
            "records_unaccounted", len(taken.problems) + len(written.problems), "count", "lower", 0
        ),
    ]


def fill(log: MemoryLog, topic: str, records: Sequence[Sent], now_ms: int) -> dict[Place, Sent]:
    """Put records into a topic, each where its key belongs; gives where each lies."""
    places: dict[Place, Sent] = {}
    for number, one in enumerate(records):
        partition = number % log.partitions
        if one.key is not None:
            partition = partition_of(one.key, log.partitions)
        places[topic, partition, log.append(topic, partition, one.value, now_ms)] = one
    return places


async def take(made: Pipeline, world: World, sent: Mapping[Place, Sent]) -> Taken:
    """Let the shards of a pipeline read all that lies in the log, and settle the accounts."""
    system = LocalSystem(made, Settings(), world)
    await system.start()
    await system.drain()
    await system.step()  # what was rejected last is written
    counted: dict[str, int] = {}
    for shard in system.shards:
        for name, value in totals(shard.states).items():
            assert isinstance(value, int)
            counted[name] = counted.get(name, 0) + value
    rejected = system.sink.rejected
    await system.stop()
    return Taken(len(sent), unaccounted(sent, counted, rejected), counted, rejected)


def ask(cases: int) -> tuple[Asked, Taken]:
    """Ask the demo pipeline's endpoint, and take in what it wrote: its events and impressions."""
    made, clock = shop_file().load(), SystemClock()
    log = MemoryLog(PARTITIONS)
    asked = ask_all(_endpoint(made, World(log, clock)), cases, SEED)
    sent = {
        (topic, partition, offset): Sent("of the endpoint", None, value, fate)
        for topic, fate in zip(made.topics, (Fate.OPEN, Fate.TAKEN), strict=True)
        for partition in range(PARTITIONS)
        for offset, value in enumerate(log.read(topic, partition, 0, 10**9).values)
    }
    return asked, asyncio.run(take(made, World(log, clock), sent))


def _endpoint(made: Pipeline, world: World) -> Starlette:
    async def started() -> ScoringService:
        settings = Settings(serve=ServeSettings(wait_timeout_ms=WAIT_MS))
        system = LocalSystem(made, settings, world)
        await system.start()
        return system.replica

    return build_app(started)
