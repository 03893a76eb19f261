"""How fast a feature shard reads a full topic, beside a loop that only decodes it.

The topic holds a million events of a hundred thousand users. The shard runs the demo's feature
views with the default settings: each changed row is written to Redis, snapshots are written to
disk. Then a shard reads as many events of a topic whose records may lie in any partition, so that
it copies each first. Baseline and shards run in turn, each in a process of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
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
    count, bootstrap = int(EVENTS * options.scale), outside.broker.bootstrap
    topic, partitions = f"freshrank-bench-{time.time_ns():x}", Settings().kafka.partitions
    fill_topic(bootstrap, topic, partitions, count, console)
    baseline_s: list[float] = []
    shard: list[IngestResult] = []
    rekeyed: list[IngestResult] = []

    def ingest(topic: str, keys: str) -> IngestResult:
        name = f"{topic}-{keys}-{number}"
        arguments = [bootstrap, outside.redis.url, topic, name, str(folder / name), str(count)]
        answer = run_module(ingest_host.__name__, [*arguments, keys], TIMEOUT_S)
        return msgspec.json.decode(answer, type=IngestResult)

    for number in range(options.rounds):
        with console.status(f"round {number + 1}: bare loop"):
            arguments = [bootstrap, topic, str(partitions), str(count)]
            baseline_s.append(float(run_module(decode_baseline.__name__, arguments, TIMEOUT_S)))
        with console.status(f"round {number + 1}: shard"):
            shard.append(ingest(topic, ingest_host.KEYED))
        # Copies of other rounds would lie in the topic of the copies, too. With one partition
        # less, each of them holds keys of all partitions of the copies.
        fill_topic(bootstrap, f"{topic}-{number}", partitions - 1, count, console)
        with console.status(f"round {number + 1}: shard that copies each record first"):
            rekeyed.append(ingest(f"{topic}-{number}", ingest_host.ANY))
        console.print(
            f"round {number + 1}: bare {count / baseline_s[-1]:8.0f}/s"
            f"  shard {count / shard[-1].seconds:8.0f}/s"
            f"  ({shard[-1].cpu_seconds / count * 1e6:.1f} µs of CPU an event,"
            f" {shard[-1].rows_written} rows written)"
            f"  re-keyed {count / rekeyed[-1].seconds:8.0f}/s"
            f"  ({rekeyed[-1].cpu_seconds / count * 1e6:.1f} µs)"
        )
    return figures(count, baseline_s, shard, rekeyed)


def figures(
    count: int,
    baseline_s: Sequence[float],
    shard: Sequence[IngestResult],
    rekeyed: Sequence[IngestResult],
) -> list[Figure]:
    """Return medians over the rounds; the ratios are computed within each round."""
    ratio = median(bare / one.seconds for bare, one in zip(baseline_s, shard, strict=True))
    per_event_us = median(one.cpu_seconds / count * 1e6 for one in shard)
    rate = median(count / one.seconds for one in shard)
    share = median(one.seconds / any_.seconds for one, any_ in zip(shard, rekeyed, strict=True))
    rekeyed_us = median(one.cpu_seconds / count * 1e6 for one in rekeyed)
    return [
        Figure("ratio_to_bare_loop", ratio, "1", "higher", 0.35),
        Figure("events_per_s", rate, "1/s", "higher", 1e5),
        Figure(
            "bare_loop_events_per_s", median(count / bare for bare in baseline_s), "1/s", "higher"
        ),
        Figure("cpu_us_per_event", per_event_us, "µs", "lower"),
        Figure(
            "rekeyed_events_per_s", median(count / one.seconds for one in rekeyed), "1/s", "higher"
        ),
        Figure("rekeyed_ratio_to_keyed", share, "1", "higher"),
        Figure("rekeyed_cpu_us_per_event", rekeyed_us, "µs", "lower"),
        Figure("rows_written", median(one.rows_written for one in shard), "count", "lower"),
        Figure("snapshot_bytes", median(one.snapshot_bytes for one in shard), "B", "lower"),
    ]


def fill_topic(bootstrap: str, topic: str, partitions: int, count: int, console: Console) -> None:
    """Create the topic, with so many partitions, and write the events to it."""
    events = shop_events(count, USERS, time.time_ns() // 1_000_000, np.random.default_rng(0))
    fill_with(events, count, (bootstrap, topic, partitions), console)


def fill_with(
    events: Iterable[tuple[bytes, bytes]], count: int, to: tuple[str, str, int], console: Console
) -> None:
    """Create the topic, `to` (bootstrap, topic, partitions), and write `count` events to it."""
    bootstrap, topic, partitions = to
    topics = [topic, f"{topic}.dead", f"{topic}.late"]
    asyncio.run(ensure_topics(KafkaAccess(bootstrap), topics, partitions))
    filler = TopicFiller(bootstrap, topic)
    for key, value in track(events, "filling the topic", count, console=console):
        filler.write(key, value)
    filler.finish()
