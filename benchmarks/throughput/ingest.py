"""How fast a feature shard reads a full topic, beside a loop that only decodes it.

The topic holds a million events of a hundred thousand users. The shard runs the demo's feature
views with the default settings: each changed row is written to Redis, snapshots are written to
disk. Baseline and shard run in turn, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import track

from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.throughput import decode_baseline, ingest_host
from freshrank.benchmarks.throughput.ingest_host import IngestResult
from freshrank.benchmarks.workloads.shop_events import TopicFiller, shop_events
from freshrank.benchmarks.workloads.shop_fixture import external_servers
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

EVENTS = 1_000_000
USERS = 100_000
# Seconds: ten times what either process needs on two slow cores.
TIMEOUT_S = 300.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers, fill the topic, measure, stop."""
    with external_servers(options, console) as (outside, folder):
        return _measure(options, console, outside, folder)


def _measure(
    options: BenchOptions, console: Console, outside: ExternalServers, folder: Path
) -> list[Figure]:
    count = int(EVENTS * options.scale)
    topic = f"freshrank-bench-{time.time_ns():x}"
    partitions = _fill(outside.broker.bootstrap, topic, count, console)
    baseline_s: list[float] = []
    shard: list[IngestResult] = []
    for number in range(options.rounds):
        with console.status(f"round {number + 1}: bare loop"):
            arguments = [outside.broker.bootstrap, topic, str(partitions), str(count)]
            baseline_s.append(float(run_module(decode_baseline.__name__, arguments, TIMEOUT_S)))
        with console.status(f"round {number + 1}: shard"):
            arguments = [outside.broker.bootstrap, outside.redis.url, topic, f"{topic}-{number}"]
            arguments += [str(folder / f"snapshots-{number}"), str(count)]
            answer = run_module(ingest_host.__name__, arguments, TIMEOUT_S)
            shard.append(msgspec.json.decode(answer, type=IngestResult))
        console.print(
            f"round {number + 1}: bare {count / baseline_s[-1]:8.0f}/s"
            f"  shard {count / shard[-1].seconds:8.0f}/s"
            f"  ({shard[-1].cpu_seconds / count * 1e6:.1f} µs of CPU an event,"
            f" {shard[-1].rows_written} rows written)"
        )
    return figures(count, baseline_s, shard)


def figures(count: int, baseline_s: Sequence[float], shard: Sequence[IngestResult]) -> list[Figure]:
    """Return medians over the rounds; the ratio is computed within each round."""
    ratio = median(bare / one.seconds for bare, one in zip(baseline_s, shard, strict=True))
    per_event_us = median(one.cpu_seconds / count * 1e6 for one in shard)
    rate = median(count / one.seconds for one in shard)
    return [
        Figure("ratio_to_bare_loop", ratio, "1", "higher", 0.35),
        Figure("events_per_s", rate, "1/s", "higher", 1e5),
        Figure(
            "bare_loop_events_per_s", median(count / bare for bare in baseline_s), "1/s", "higher"
        ),
        Figure("cpu_us_per_event", per_event_us, "µs", "lower"),
        Figure("rows_written", median(one.rows_written for one in shard), "count", "lower"),
        Figure("snapshot_bytes", median(one.snapshot_bytes for one in shard), "B", "lower"),
    ]


def _fill(bootstrap: str, topic: str, count: int, console: Console) -> int:
    """Create the topic, write the events to it, and return its number of partitions."""
    partitions = Settings().kafka.partitions
    topics = [topic, f"{topic}.dead", f"{topic}.late"]
    asyncio.run(ensure_topics(KafkaAccess(bootstrap), topics, partitions))
    filler = TopicFiller(bootstrap, topic)
    events = shop_events(count, USERS, time.time_ns() // 1_000_000, np.random.default_rng(0))
    for key, value in track(events, "filling the topic", count, console=console):
        filler.write(key, value)
    filler.finish()
    return partitions
