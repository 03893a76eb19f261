"""Which benches there are, and how one is run: what `freshrank bench` lists and calls."""

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
    """What a person may choose; each bench takes what concerns it."""

    kafka: str | None = None
    """Bootstrap address of a running broker; None: the bench starts real Apache Kafka."""
    redis: str | None = None
    """URL of a running Redis; None: the bench starts one."""
    data: Path | None = None
    """The real data set, for the benches that need one."""
    rounds: int = 3
    """How often each side of a ratio is measured, and each fault comes."""
    scale: float = 1.0
    """The share of the stated amount of work to do: below 1 for a quick look."""


BENCHES = {
    "ingest": "events per second through one feature shard, beside a bare Kafka loop",
    "freshness": "from the send of an event to the first score that used it or learned from it",
    "serving": "/v1/score behind HAProxy, behind Serve's own proxy, and in bare uvicorn",
    "recovery": "kill shard, learner and replicas under load: how soon all is well again",
    "chaos": "kill, hang and take away everything under load: nothing is lost or doubled",
    "overload": "ten times the rate for half a minute: memory, what is lost, time to catch up",
    "snapshot": "of a million users, of a shard that goes on reading meanwhile",
    "learner": "Criteo, one pass, predict before update, on one core (needs --data)",
    "fuzz": "records and requests that nobody should send: all are accounted for, no 5xx",
    "crashes": "a crash at every step: features, examples and weights of the run without one",
    "jd": "the JD clickstream in event time: live, frozen, base rate (needs --data)",
}
"""Name and one line each; the code is the `run` of the module of that name."""


def run_bench(name: str, options: BenchOptions, console: Console) -> Report:
    """Run a bench by name and give its report; progress goes to `console`.

    Raises ConfigError for a name that is no bench.
    """
    if name not in BENCHES:
        known = ", ".join(BENCHES)
        raise ConfigError(f"bench {name!r}", "there is none of this name", f"Take one of: {known}.")
    module = importlib.import_module(f"freshrank.benchmarks.{name}")
    run: Callable[[BenchOptions, Console], list[Figure]] = module.run
    started = now()
    return new_report(name, started, run(options, console))


def needed_data(options: BenchOptions, bench: str, what: str) -> Path:
    """The path of the real data, or a ConfigError that says what to give."""
    if options.data is None:
        raise ConfigError(f"bench {bench}", f"needs {what}", "give its path with --data PATH")
    if not options.data.exists():
        raise ConfigError(f"bench {bench}", f"{options.data} does not exist", f"give {what}")
    return options.data
