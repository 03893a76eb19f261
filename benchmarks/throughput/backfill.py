"""How much faster a core reads a history from files than the same events from Kafka.

The events are those of `ingest`. A shard reads them from a full topic, writes each changed row to
Redis and snapshots to disk; a backfill reads them from JSON lines, Parquet and CSV, and has the
state in memory. Both are measured by the CPU time of an event, in turn, each in a process of its
own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.throughput import backfill_host, ingest_host
from freshrank.benchmarks.throughput.ingest import EVENTS, TIMEOUT_S, USERS, fill_topic
from freshrank.benchmarks.throughput.ingest_host import IngestResult
from freshrank.benchmarks.workloads.shop_events import shop_events
from freshrank.benchmarks.workloads.shop_fixture import external_servers
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.columnar.pyarrow_import import import_pyarrow
from freshrank.deploy.history.table_files import write_table

LIVE = "live"
FORMATS = ("parquet", "csv", "jsonl")
REACH = 5.0


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Write files and fill a topic, then measure both, round by round."""
    import_pyarrow("bench backfill")
    count = int(EVENTS * options.scale)
    found: dict[str, list[float]] = {name: [] for name in (LIVE, *FORMATS)}
    with external_servers(options, console) as (outside, folder):
        with console.status("writing the files"):
            files = write_history(folder, count)
        bootstrap, topic = outside.broker.bootstrap, f"freshrank-bench-{time.time_ns():x}"
        fill_topic(bootstrap, topic, Settings().kafka.partitions, count, console)
        for number in range(options.rounds):
            name = f"{topic}-{number}"
            given = [bootstrap, outside.redis.url, topic, name, str(folder / name), str(count)]
            with console.status(f"round {number + 1}: {LIVE}"):
                answer = run_module(ingest_host.__name__, [*given, ingest_host.KEYED], TIMEOUT_S)
            live = msgspec.json.decode(answer, type=IngestResult)
            found[LIVE].append(live.cpu_seconds / count * 1e6)
            for kind, file in files.items():
                with console.status(f"round {number + 1}: {kind}"):
                    answer = run_module(backfill_host.__name__, [str(file)], TIMEOUT_S)
                found[kind].append(float(answer))
            latest = ", ".join(f"{kind} {one[-1]:.1f}" for kind, one in found.items())
            console.print(f"round {number + 1}: µs of CPU an event: {latest}")
    return figures(found)


def write_history(folder: Path, count: int) -> dict[str, Path]:
    """Write `count` events of the demo's stream in each format; gives the files by format."""
    arrow = import_pyarrow("bench backfill")
    events = shop_events(count, USERS, time.time_ns() // 1_000_000, np.random.default_rng(0))
    table = arrow.Table.from_pylist([msgspec.json.decode(value) for _, value in events])
    files = {kind: folder / f"behaviour.{kind}" for kind in FORMATS}
    for file in files.values():
        write_table(table, file)
    return files


def figures(found: Mapping[str, Sequence[float]]) -> list[Figure]:
    """Return medians over the rounds; the ratios are computed within each round."""
    ratios = [
        Figure(
            f"ratio_of_{kind}_to_live",
            median(live / one for live, one in zip(found[LIVE], found[kind], strict=True)),
            "1",
            "higher",
            REACH,
        )
        for kind in FORMATS
    ]
    costs = [
        Figure(f"cpu_us_per_event_{kind}", median(values), "µs", "lower")
        for kind, values in found.items()
    ]
    return [*ratios, *costs]
