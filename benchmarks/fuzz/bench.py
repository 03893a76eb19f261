"""Much bad input: records that break every rule, and requests generated from the OpenAPI document.

Everything runs in memory: shards read the records from a log, and requests reach the endpoint of
the demo's pipeline without a socket. Then shards read what the endpoint wrote to the topics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from rich.console import Console
from starlette.types import ASGIApp, Receive, Scope, Send

from freshrank.actors.clock import SystemClock
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.records import RejectedRecord
from freshrank.benchmarks.fuzz.api import ApiFuzzResult, fuzz_api
from freshrank.benchmarks.fuzz.impressions import impressions
from freshrank.benchmarks.fuzz.records import events
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, count_of, must_be_zero
from freshrank.benchmarks.workloads.record_accounting import (
    Disposition,
    RecordPosition,
    SentRecord,
    fuzz_pipeline,
    unaccounted,
)
from freshrank.benchmarks.workloads.shop_fixture import shop_file
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.examples import catalogue
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.shard.status import totals
from freshrank.serve.app import build_app
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings

CASES = 10_000
# Requests to a pipeline with a catalogue, and the items in it.
ITEM_CASES, ITEMS = 2_000, 50
# How often each kind of record is sent.
ROUNDS = 30
PARTITIONS = 4
# Milliseconds that a request waits for its `min_version`: many ask for one that never comes.
WAIT_MS = 1
# A fixed seed: a figure changes only when the code does.
SEED = 1


@dataclass(frozen=True, slots=True)
class RecordFuzzResult:
    """What the shards did with the records of a log."""

    records: int
    problems: Sequence[str]
    """A line for each record and each sum that contradicts the rules; see `unaccounted`."""
    totals: Mapping[str, int]
    """The counters, summed over all partitions."""
    rejected: Sequence[tuple[str, RejectedRecord]] = field(repr=False)
    """Side topic and record: too many to be text, which `asyncio.run` makes of a result, twice."""


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Send the records, then the requests, then what the requests wrote."""
    clock, rounds = SystemClock(), max(1, int(ROUNDS * options.scale))
    pipeline, now_ms = fuzz_pipeline(), clock.now_ms()
    log = MemoryLog(PARTITIONS)
    with console.status("sending records"):
        sent = fill(log, pipeline.stream.topic, events(SEED, now_ms, rounds), now_ms)
        odd_impressions = impressions(pipeline, SEED, now_ms, rounds)
        sent |= fill(log, pipeline.impressions_topic, odd_impressions, now_ms)
        read = asyncio.run(consume(pipeline, World(log, clock), sent))
    with console.status("sending requests"):
        requests, written = fuzz_endpoint(int(CASES * options.scale))
        about_items = fuzz_recommendations(int(ITEM_CASES * options.scale))
    for line in [*read.problems, *written.problems, *requests.problems, *about_items.problems]:
        console.print(line, markup=False, highlight=False)
    return [
        count_of("cases", requests.cases + about_items.cases),
        must_be_zero("server_errors", requests.server_errors + about_items.server_errors),
        must_be_zero("schema_violations", requests.violations + about_items.violations),
        count_of("records", read.records + written.records),
        must_be_zero("records_unaccounted", len(read.problems) + len(written.problems)),
    ]


def fill(
    log: MemoryLog, topic: str, records: Sequence[SentRecord], now_ms: int
) -> dict[RecordPosition, SentRecord]:
    """Append `records` to a topic, each to the partition of its key; return their positions."""
    positions: dict[RecordPosition, SentRecord] = {}
    for number, record in enumerate(records):
        partition = number % log.partitions
        if record.key is not None:
            partition = partition_of(record.key, log.partitions)
        offset = log.append(topic, partition, record.value, now_ms)
        positions[topic, partition, offset] = record
    return positions


async def consume(
    pipeline: Pipeline, world: World, sent: Mapping[RecordPosition, SentRecord]
) -> RecordFuzzResult:
    """Let the shards of a pipeline read the whole log, and account for each record."""
    system = LocalSystem(pipeline, Settings(), world)
    await system.start()
    await system.drain()
    await system.step()  # writes the records that were rejected last
    counted: dict[str, int] = {}
    for shard in system.shards:
        for name, value in totals(shard.states).items():
            assert isinstance(value, int)
            counted[name] = counted.get(name, 0) + value
    rejected = system.sink.rejected
    await system.stop()
    return RecordFuzzResult(len(sent), unaccounted(sent, counted, rejected), counted, rejected)


def fuzz_endpoint(cases: int) -> tuple[ApiFuzzResult, RecordFuzzResult]:
    """Send requests to the demo pipeline's endpoint, and consume the events and impressions."""
    pipeline, clock = shop_file().load(), SystemClock()
    log = MemoryLog(PARTITIONS)
    requests = fuzz_api(_endpoint(pipeline, World(log, clock)), cases, SEED)
    dispositions = (Disposition.OPEN, Disposition.TAKEN)
    sent = {
        (topic, partition, offset): SentRecord("of the endpoint", None, value, disposition)
        for topic, disposition in zip(pipeline.topics, dispositions, strict=True)
        for partition in range(PARTITIONS)
        for offset, value in enumerate(log.read(topic, partition, 0, 10**9).values)
    }
    return requests, asyncio.run(consume(pipeline, World(log, clock), sent))


def fuzz_recommendations(cases: int) -> ApiFuzzResult:
    """Send requests to the endpoint of a pipeline that recommends items of a catalogue."""
    pipeline, clock = catalogue.pipeline, SystemClock()
    log = MemoryLog(PARTITIONS)
    keys = [str(number).encode() for number in range(ITEMS)]
    rows = [
        msgspec.json.encode(catalogue.Product(number, number % 5, float(number)))
        for number in range(ITEMS)
    ]
    log.distribute("catalogue", keys, rows, np.full(ITEMS, clock.now_ms()))
    return fuzz_api(_endpoint(pipeline, World(log, clock)), cases, SEED)


def _endpoint(pipeline: Pipeline, world: World) -> ASGIApp:
    """The application of a local system, which runs from the startup to the shutdown."""
    systems: list[LocalSystem] = []

    async def started() -> ScoringService:
        settings = Settings(serve=ServeSettings(wait_timeout_ms=WAIT_MS))
        systems.append(LocalSystem(pipeline, settings, world))
        await systems[-1].start()
        return systems[-1].replica

    app = build_app(started)

    async def stopping_the_system(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)
        if scope["type"] == "lifespan":  # this call returns after the shutdown
            for system in systems:
                await system.stop()

    return stopping_the_system
