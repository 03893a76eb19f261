"""The benches by name, and how they are run: what `freshrank bench` lists and calls."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.report import Figure, Report, new_report, now


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of `freshrank bench`; each bench uses those that concern it."""

    kafka: str | None = None
    """Bootstrap address of a running broker; None: the bench starts Apache Kafka."""
    redis: str | None = None
    """URL of a running Redis; None: the bench starts a Redis."""
    data: Path | None = None
    """The real data set, for the benches that need one."""
    rounds: int = 3
    """How often each side of a ratio is measured, and each fault is injected."""
    scale: float = 1.0
    """The share of the full amount of work: below 1 for a quick look."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The module of a bench, and what it measures."""

    module: str
    """Relative to `freshrank.benchmarks`; its `run(options, console)` returns the figures."""
    summary: str


BENCHES = {
    "ingest": Bench(
        "throughput.ingest", "events per second through one feature shard, beside a bare Kafka loop"
    ),
    "engines": Bench(
        "throughput.engines",
        "one job from Kafka to Redis, by one shard and by stream engines of other projects",
    ),
    "state": Bench(
        "throughput.state",
        "what an event costs in the state of a thousand to five million users (12 GB of memory)",
    ),
    "windows": Bench(
        "throughput.windows",
        "each aggregate from a minute to 90 days: cost, bytes, and its error by all events",
    ),
    "backfill": Bench(
        "throughput.backfill",
        "a history from Parquet, CSV and JSON lines, beside the same events from Kafka to Redis",
    ),
    "rows": Bench(
        "latency.rows.bench",
        "from the send of an event until its row can be read, directly and through the exchange",
    ),
    "exchange": Bench(
        "latency.exchange", "as `rows`, of the rows of items: their events lie where users belong"
    ),
    "engine-rows": Bench(
        "latency.rows.engines",
        "as `rows`, of the job of `engines`, by one shard and by each of them, to 20,000 events/s",
    ),
    "reads": Bench(
        "latency.reads",
        "a user's row and those of 100 items, from Redis to model inputs, beside Feast's reads",
    ),
    "freshness": Bench(
        "latency.freshness",
        "from the send of an event to the first score that used it or learned from it",
    ),
    "serving": Bench(
        "latency.serving",
        "/v1/score behind HAProxy, Serve's own proxy, in bare uvicorn, and beside Feast's server",
    ),
    "recommend": Bench(
        "latency.recommendations",
        "/v1/recommend over 100,000 items, with and without filters, and how soon an event shows",
    ),
    "recovery": Bench(
        "chaos.recovery", "kill shard, learner and replicas under load: how soon all is well again"
    ),
    "chaos": Bench(
        "chaos.bench",
        "faults of every kind under load: nothing lost, doubled, mislabelled or silent",
    ),
    "overload": Bench(
        "throughput.overload",
        "ten times the rate for half a minute: memory, what is lost, time to catch up",
    ),
    "snapshot": Bench(
        "throughput.snapshot", "of a million users, of a shard that goes on reading meanwhile"
    ),
    "learner": Bench(
        "quality.criteo_bench",
        "Criteo, one pass, predict before update, on one core (needs --data)",
    ),
    "robust": Bench(
        "robust.bench",
        "learning that nobody tunes: any scale of inputs, any size of a step, a world that changes",
    ),
    "online": Bench(
        "online.bench",
        "ten streams, predict before update, beside Vowpal Wabbit and River (four need --data)",
    ),
    "intervals": Bench(
        "online.sync_intervals",
        "what it is worth that weights are served soon: AUC by sync interval (needs --data)",
    ),
    "delay": Bench(
        "quality.label_delay", "clicks that come late: mean served score beside the click rate"
    ),
    "fuzz": Bench(
        "fuzz.bench", "invalid records and requests: each record is accounted for, no 5xx"
    ),
    "crashes": Bench(
        "crashes.bench",
        "a crash at every step: features, examples and weights of the run without one",
    ),
    "quality": Bench(
        "quality.next_item.bench",
        "next items beside popularity, item-kNN, ALS and LambdaMART (needs --data)",
    ),
    "jd": Bench(
        "quality.jd", "the JD clickstream in event time: live, frozen, base rate (needs --data)"
    ),
}


def run_bench(name: str, options: BenchOptions, console: Console) -> Report:
    """Run the bench `name` and return its report; progress goes to `console`.

    Raises ConfigError for an unknown name.
    """
    if name not in BENCHES:
        known = ", ".join(BENCHES)
        raise ConfigError(f"bench {name!r}", "there is none of this name", f"Take one of: {known}.")
    module = importlib.import_module(f"freshrank.benchmarks.{BENCHES[name].module}")
    run: Callable[[BenchOptions, Console], list[Figure]] = module.run
    started = now()
    return new_report(name, started, run(options, console))


def needed_data(options: BenchOptions, bench: str, what: str) -> Path:
    """Return the path of the real data. Raises ConfigError when it is missing."""
    if options.data is None:
        raise ConfigError(f"bench {bench}", f"needs {what}", "give its path with --data PATH")
    if not options.data.exists():
        raise ConfigError(f"bench {bench}", f"{options.data} does not exist", f"give {what}")
    return options.data
