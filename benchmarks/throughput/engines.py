"""The same job from Kafka to Redis by one feature shard and by engines of other projects.

A topic is filled once (see `shared_job`). In each round the shard and each engine read all of it
from an empty state, each in one process of its own, and write features to Redis. The rows of some
users are compared with what their events give. The engines are run by `peers/peer_engines.py`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import redis
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.module_process import run_module, run_script
from freshrank.benchmarks.peers import peer_engines
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure, median
from freshrank.benchmarks.throughput import ingest_host
from freshrank.benchmarks.throughput.ingest import TIMEOUT_S, fill_with
from freshrank.benchmarks.throughput.ingest_host import SAMPLED, IngestResult
from freshrank.benchmarks.workloads.shared_job import (
    JobRow,
    events_by_user,
    is_right,
    job_events,
    job_file,
    own_row,
)
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.benchmarks.workloads.shop_fixture import external_servers
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.external import ExternalServers
from freshrank.examples.shop.shoppers import ShopEvent

# Fewer than of `ingest`: some engines take a minute for them.
EVENTS, USERS = 200_000, 20_000
OWN = "freshrank"
# Seconds, of which pip may need most when the environment of an engine is made.
PEER_TIMEOUT_S = 900.0


class PeerResult(msgspec.Struct, frozen=True):
    """What `peer_engines.py` prints."""

    seconds: float
    cpu_seconds: float
    rows_written: int
    lines_of_code: int
    durable: str


@dataclass(frozen=True, slots=True)
class EngineRun:
    """One run of one engine."""

    seconds: float
    cpu_seconds: float
    wrong: int
    """Of the users that were looked at, those whose row is missing or wrong."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The topic that all read."""

    outside: ExternalServers
    folder: Path
    topic: str
    count: int
    distinct: int
    """Events without those that are there twice."""
    expected: Mapping[str, Sequence[ShopEvent]]
    """The events of each user that is looked at."""

    def own(self, number: int) -> EngineRun:
        """Run the shard."""
        name = f"{self.topic}-{number}"
        where = [self.outside.broker.bootstrap, self.outside.redis.url, self.topic, name]
        arguments = [*where, str(self.folder / name), str(self.distinct), ingest_host.JOB]
        answer = run_module(ingest_host.__name__, arguments, TIMEOUT_S)
        result = msgspec.json.decode(answer, type=IngestResult)
        plan = job_file(self.topic, name).load().plan.tables[0]
        rows = {user_name(user): own_row(plan, row) for user, row in enumerate(result.rows) if row}
        return EngineRun(result.seconds, result.cpu_seconds, wrong(self.expected, rows))

    def peer(self, engine: str) -> tuple[EngineRun, PeerResult]:
        """Run an engine of another project, and remove its rows."""
        prefix = f"{self.topic}-{engine}:"
        answer = run_script(
            Path(peer_engines.__file__),
            peer_arguments(engine, self.outside, self.topic, prefix, self.count),
            PEER_TIMEOUT_S,
        )
        result = msgspec.json.decode(answer, type=PeerResult)
        client = redis.Redis.from_url(self.outside.redis.url)
        found = client.mget([prefix + user for user in self.expected])
        rows = {
            user: msgspec.json.decode(row, type=dict[str, float | list[int] | None])
            for user, row in zip(self.expected, found, strict=True)
            if row
        }
        client.delete(*client.scan_iter(f"{prefix}*", count=1_000))
        client.close()
        return EngineRun(result.seconds, result.cpu_seconds, wrong(self.expected, rows)), result


def peer_arguments(
    engine: str, outside: ExternalServers, topic: str, prefix: str, count: int
) -> list[str]:
    """Return the arguments of `peer_engines.py`: `count` records of `topic`, rows at `prefix`."""
    return [
        engine,
        *("--bootstrap", outside.broker.bootstrap, "--topic", topic),
        *("--redis", outside.redis.url, "--prefix", prefix),
        *("--count", str(count), "--partitions", str(Settings().kafka.partitions)),
    ]


def wrong(expected: Mapping[str, Sequence[ShopEvent]], rows: Mapping[str, JobRow]) -> int:
    """How many users' rows are missing, or not what their events give."""
    return sum(
        user not in rows or not is_right(rows[user], events) for user, events in expected.items()
    )


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Start the servers, fill the topic, run all in turn, stop."""
    count, users = int(EVENTS * options.scale), max(1, int(USERS * options.scale))
    newest_ms, topic = time.time_ns() // 1_000_000, f"freshrank-bench-{time.time_ns():x}"
    by_user = events_by_user(job_events(count, users, newest_ms))
    sample = [user_name(user) for user in range(SAMPLED)]
    expected = {user: by_user[user] for user in sample if user in by_user}
    found: dict[str, list[EngineRun]] = {OWN: [], **{name: [] for name in peer_engines.ENGINES}}
    with external_servers(options, console) as (outside, folder):
        to = outside.broker.bootstrap, topic, Settings().kafka.partitions
        fill_with(job_events(count, users, newest_ms), count, to, console)
        distinct = len({event.event_id for events in by_user.values() for event in events})
        compared = _Comparison(outside, folder, topic, count, distinct, expected)
        for number in range(options.rounds):
            found[OWN].append(compared.own(number))
            _say(console, OWN, count, found[OWN][-1])
            for engine in peer_engines.ENGINES:
                try:
                    one, result = compared.peer(engine)
                except Unavailable as error:
                    console.print(f"{engine}: {error}")
                    continue
                found[engine].append(one)
                _say(console, engine, count, one)
                console.print(f"  {result.lines_of_code} lines of code; {result.durable}")
    return figures(count, found)


def _say(console: Console, engine: str, count: int, one: EngineRun) -> None:
    console.print(
        f"{engine}: {count / one.seconds:,.0f} events/s,"
        f" {one.cpu_seconds / count * 1e6:.1f} µs of CPU an event, {one.wrong} rows wrong"
    )


def figures(count: int, found: Mapping[str, Sequence[EngineRun]]) -> list[Figure]:
    """Return medians over the rounds; an engine that never ran to its end has none.

    The ratios are of the medians, ours to the best of the others by each figure.
    """
    made, rates, cpu = [], {}, {}
    for engine, runs in found.items():
        if runs:
            rates[engine] = median(count / one.seconds for one in runs)
            cpu[engine] = median(one.cpu_seconds / count * 1e6 for one in runs)
            made += [
                Figure(f"{engine}_events_per_s", rates[engine], "1/s", "higher"),
                Figure(f"{engine}_cpu_us_per_event", cpu[engine], "µs", "lower"),
                Figure(f"{engine}_rows_wrong", sum(one.wrong for one in runs), "count", "lower"),
            ]
    peers = [engine for engine in rates if engine != OWN]
    if peers:
        rate = rates[OWN] / max(rates[engine] for engine in peers)
        less = min(cpu[engine] for engine in peers) / cpu[OWN]
        made.append(Figure("rate_to_best_peer", rate, "1", "higher", 1.0))
        made.append(Figure("cpu_of_best_peer_to_own", less, "1", "higher", 1.0))
    return made
