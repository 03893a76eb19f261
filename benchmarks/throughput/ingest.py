"""How fast one feature shard takes in a full topic, beside a bare loop that only decodes it.

A million events of a hundred thousand users lie in the topic. The shard runs the demo's feature
views with its default settings: every changed row goes through to Redis, snapshots are written.
Bare loop and shard take turns, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.throughput.ingest_host import IngestResult
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events
from freshrank.benchmarks.workloads.shop_fixture import running_outside
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import Outside
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

EVENTS = 1_000_000
USERS = 100_000
# Seconds: ten times what either side takes on two slow cores.
TIMEOUT_S = 300.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start Kafka and Redis (or take those given), fill the topic, measure, stop."""
    with running_outside(options, console) as (outside, folder):
        return _rounds(options, console, outside, folder)


def _rounds(
    options: BenchOptions, console: Console, outside: Outside, folder: Path
) -> list[Figure]:
    count = int(EVENTS * options.scale)
    topic = f"freshrank-bench-{time.time_ns():x}"
    partitions = _fill(outside.broker.bootstrap, topic, count, console)
    bare: list[float] = []
    shard: list[IngestResult] = []
    for number in range(options.rounds):
        with console.status(f"round {number + 1}: bare loop"):
            arguments = [outside.broker.bootstrap, topic, str(partitions), str(count)]
            bare.append(float(_child("bare_loop", arguments)))
        with console.status(f"round {number + 1}: shard"):
            arguments = [outside.broker.bootstrap, outside.redis.url, topic, f"{topic}-{number}"]
            arguments += [str(folder / f"snapshots-{number}"), str(count)]
            answer = _child("ingest_host", arguments)
            shard.append(msgspec.json.decode(answer, type=IngestResult))
        console.print(
            f"round {number + 1}: bare {count / bare[-1]:8.0f}/s"
            f"  shard {count / shard[-1].seconds:8.0f}/s"
            f"  ({shard[-1].cpu_seconds / count * 1e6:.1f} µs of CPU an event,"
            f" {shard[-1].rows_written} rows written)"
        )
    return figures(count, bare, shard)


def figures(count: int, bare: Sequence[float], shard: Sequence[IngestResult]) -> list[Figure]:
    """Medians over the rounds; the ratio is taken within each."""
    ratio = median(one / other.seconds for one, other in zip(bare, shard, strict=True))
    per_event_us = median(one.cpu_seconds / count * 1e6 for one in shard)
    return [
        Figure("ratio_to_bare_loop", ratio, "1", "higher", 0.35),
        Figure("events_per_s", median(count / one.seconds for one in shard), "1/s", "higher", 1e5),
        Figure("bare_loop_events_per_s", median(count / one for one in bare), "1/s", "higher"),
        Figure("cpu_us_per_event", per_event_us, "µs", "lower"),
        Figure("rows_written", median(one.rows_written for one in shard), "count", "lower"),
        Figure("snapshot_bytes", median(one.snapshot_bytes for one in shard), "B", "lower"),
    ]


def _fill(bootstrap: str, topic: str, count: int, console: Console) -> int:
    """Write the events to a topic of their own; gives its number of partitions."""
    partitions = Settings().kafka.partitions
    topics = [topic, f"{topic}.dead", f"{topic}.late"]
    asyncio.run(ensure_topics(KafkaAccess(bootstrap), topics, partitions))
    filler = TopicFiller(bootstrap, topic)
    events = shop_events(count, USERS, time.time_ns() // 1_000_000, np.random.default_rng(0))
    for key, value in track(events, "filling the topic", count, console=console):
        filler.write(key, value)
    filler.finish()
    return partitions


def _child(module: str, arguments: Sequence[str]) -> bytes:
    """What a module of the benches prints, run in a process of its own. Raises Unavailable."""
    done = subprocess.run(
        [sys.executable, "-m", f"freshrank.benchmarks.{module}", *arguments],
        capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    if done.returncode != 0:
        raise Unavailable(module, done.stderr.decode(errors="replace")[-2_000:])
    return done.stdout
