"""How much faster a core reads a history from files than the same events from Kafka.

The events are those of `ingest`. A shard reads them from a full topic, writes each changed row to
Redis and snapshots to disk; a backfill reads them from JSON lines, Parquet and CSV, and has the
state in memory. Both are measured by the CPU time of an event, in turn, each in a process of its
own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console

from freshrank.benchmarks.module_process import run_module
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.throughput import backfill_host, ingest_host
from freshrank.benchmarks.throughput.ingest import (
    EVENTS,
    TIMEOUT_S,
    USERS,
    fill_topic,
    fill_with,
)
from freshrank.benchmarks.throughput.ingest_host import IngestResult
from freshrank.benchmarks.workloads.histories.real_history import REAL, found_in
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
    with external_servers(options, console) as (outside, folder):
        with console.status("writing the files"):
            files = write_history(folder, count)
        servers = outside.broker.bootstrap, outside.redis.url
        topic = f"freshrank-bench-{time.time_ns():x}"
        fill_topic(servers[0], topic, Settings().kafka.partitions, count, console)
        shop = _Compared(files, count, [*servers, topic, str(folder)])
        found = figures(shop.measured(options.rounds, console))
        real = found_in(options.data)
        for name in REAL:
            if name not in real:
                needed = REAL[name].data
                console.print(f"{name} is left out: --data names no folder that has {needed}")
                continue
            compared = _of_real(name, real[name], (options, console), (*servers, folder))
            found += figures(compared.measured(options.rounds, console), f"_of_{name}")
    return found


@dataclass(frozen=True, slots=True)
class _Compared:
    """A history in files, and in a topic."""

    files: Mapping[str, Path]
    """By format."""
    count: int
    """Of its events."""
    topic: Sequence[str]
    """The broker's address, that of Redis, the topic, and a folder for snapshots."""
    real: Sequence[str] = ()
    """The name of a `RealHistory`, and its data; empty: the demo."""

    def measured(self, rounds: int, console: Console) -> Mapping[str, Sequence[float]]:
        """The CPU time of an event in microseconds, by where it is read from, round by round."""
        found: dict[str, list[float]] = {name: [] for name in (LIVE, *self.files)}
        for number in range(rounds):
            with console.status(f"round {number + 1}: {LIVE}"):
                found[LIVE].append(self._live_us(number))
            for kind, file in self.files.items():
                with console.status(f"round {number + 1}: {kind}"):
                    arguments = [str(file), *self.real[:1]]
                    found[kind].append(
                        float(run_module(backfill_host.__name__, arguments, TIMEOUT_S))
                    )
            what = self.real[0] if self.real else "demo"
            latest = ", ".join(
                f"{kind} {one[-1]:.1f} µs ({1e6 / one[-1]:,.0f}/s)" for kind, one in found.items()
            )
            console.print(
                f"{what}, {self.count:,} events, round {number + 1}: CPU of an event (events of a"
                f" core in a second): {latest}"
            )
        return found

    def _live_us(self, number: int) -> float:
        bootstrap, redis_url, topic, folder = self.topic
        name = f"{topic}-{number}"
        given = [bootstrap, redis_url, topic, name, f"{folder}/{name}", str(self.count)]
        kind = list(self.real) or [ingest_host.KEYED]
        answer = run_module(ingest_host.__name__, [*given, *kind], TIMEOUT_S)
        return msgspec.json.decode(answer, type=IngestResult).cpu_seconds / self.count * 1e6


def _of_real(
    name: str,
    data: Path,
    how: tuple[BenchOptions, Console],
    where: tuple[str, str, Path],
) -> _Compared:
    """Write a real history to a file and to a topic."""
    (options, console), (bootstrap, redis_url, folder) = how, where
    history, arrow = REAL[name], import_pyarrow("bench backfill")
    events = list(history.events(data, max(1, int(history.copies * options.scale))))
    table = arrow.Table.from_pylist([msgspec.json.decode(value) for _, value in events])
    file = folder / f"{history.topic}.parquet"
    write_table(table, file)
    topic = f"freshrank-bench-{name}-{time.time_ns():x}"
    to = bootstrap, topic, Settings().kafka.partitions
    fill_with(events, len(events), to, console)
    made = [bootstrap, redis_url, topic, str(folder)]
    return _Compared({"parquet": file}, len(events), made, [name, str(data)])


def write_history(folder: Path, count: int) -> dict[str, Path]:
    """Write `count` events of the demo's stream in each format; gives the files by format."""
    arrow = import_pyarrow("bench backfill")
    events = shop_events(count, USERS, time.time_ns() // 1_000_000, np.random.default_rng(0))
    table = arrow.Table.from_pylist([msgspec.json.decode(value) for _, value in events])
    files = {kind: folder / f"behaviour.{kind}" for kind in FORMATS}
    for file in files.values():
        write_table(table, file)
    return files


def figures(found: Mapping[str, Sequence[float]], of_what: str = "") -> list[Figure]:
    """Return medians over the rounds; the ratios are computed within each round."""
    ratios = [
        Figure(
            f"ratio_of_{kind}_to_live{of_what}",
            median(live / one for live, one in zip(found[LIVE], values, strict=True)),
            "1",
            "higher",
            REACH,
        )
        for kind, values in found.items()
        if kind != LIVE
    ]
    costs = [
        Figure(f"cpu_us_per_event_{kind}{of_what}", median(values), "µs", "lower")
        for kind, values in found.items()
    ]
    rates = [
        Figure(
            f"events_per_core_s_{kind}{of_what}",
            median(1e6 / one for one in values),
            "1/s",
            "higher",
        )
        for kind, values in found.items()
    ]
    return [*ratios, *costs, *rates]
