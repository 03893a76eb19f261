"""A crash at every step of shard, learner and replica: does a run end as if there had been none.

Each run is the whole system over a short recorded stream (`simulation`), ended at one place or at
two, started again, and compared with the run that nothing disturbs (`expected.FinalState`): in
lock-step down to the bits of the weights, else down to the examples that are in them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console

from freshrank.actors.errors import FreshrankError
from freshrank.benchmarks.crashes.crash_points import CrashPoint, CrashSchedule
from freshrank.benchmarks.crashes.expected import Difference, FinalState
from freshrank.benchmarks.crashes.recorded_stream import shop
from freshrank.benchmarks.crashes.simulation import CrashSimulation
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure

# Pairs of places that a full bench runs, at some 50 ms of a core each.
PAIRS = 1_600
# A second crash so soon after the first meets what is just starting again.
_SOON = 60
# So long some are away: a second of the simulated clock, in which the others read and checkpoint.
_AWAY_ROUNDS = 4
# Seconds that one run may take: it is some milliseconds, so it hangs.
_TIMEOUT_S = 60.0
# Runs that a worker is given at once.
_BATCH = 10


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run: how its parts work together, where they crash, and for how long they are away."""

    lock_step: bool
    crash_at: tuple[int, ...] = ()
    away_rounds: int = 0


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What came of a run."""

    run: Scenario
    crashes: tuple[CrashPoint, ...]
    problem: str | None
    """None: it ended as the undisturbed one."""

    def __str__(self) -> str:
        mode = "in lock-step" if self.run.lock_step else "asynchronous"
        places = ", then ".join(map(str, self.crashes))
        return f"{mode}, {places} ({self.run}): {self.problem}"


def play(run: Scenario) -> tuple[CrashSchedule, FinalState]:
    """Scenario it. Raises Difference when it came to no end."""
    fate = CrashSchedule(run.crash_at)

    async def whole(folder: str) -> FinalState:
        world = CrashSimulation(
            shop(), Path(folder), fate, lock_step=run.lock_step, away_rounds=run.away_rounds
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                return await world.run()
        except TimeoutError as error:
            raise Difference(f"no end after {_TIMEOUT_S} s") from error

    with tempfile.TemporaryDirectory() as folder:
        return fate, asyncio.run(whole(folder))


@cache
def undisturbed(lock_step: bool) -> tuple[CrashSchedule, FinalState]:
    """What the others are compared with, and all places that it passed."""
    return play(Scenario(lock_step))


def check(run: Scenario) -> ScenarioResult:
    """Scenario it and compare."""
    _, wanted = undisturbed(run.lock_step)
    fate = CrashSchedule()
    try:
        fate, end = play(run)
        end.compare(wanted, weights=run.lock_step)
    except (Difference, FreshrankError) as error:
        return ScenarioResult(run, tuple(fate.crashes), f"{type(error).__name__}: {error}")
    return ScenarioResult(run, tuple(fate.crashes), None)


def singles(lock_step: bool) -> list[Scenario]:
    """A crash at each place."""
    fate, _ = undisturbed(lock_step)
    return [Scenario(lock_step, (at,)) for at in fate.distinct()]


def pairs(lock_step: bool, count: int, seed: int = 1) -> list[Scenario]:
    """A crash at a random place and then at another, every other one soon after it.

    Some are started again at once, some after a while.
    """
    random = np.random.default_rng(seed)
    passed = len(undisturbed(lock_step)[0].passed)
    firsts = random.integers(0, passed, count)
    reach = np.where(np.arange(count) % 2 == 0, _SOON, np.maximum(passed - firsts, _SOON))
    seconds = random.integers(0, reach)
    away = random.choice([0, _AWAY_ROUNDS], count)
    drawn = zip(firsts.tolist(), seconds.tolist(), away.tolist(), strict=True)
    return [Scenario(lock_step, (first, second), rounds) for first, second, rounds in drawn]


def check_all(runs: Sequence[Scenario]) -> Iterator[ScenarioResult]:
    """Check `runs`, on all cores."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        yield from pool.map(check, runs, chunksize=_BATCH)


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """All places, and `PAIRS` pairs of them."""
    begun = time.monotonic()
    each = max(1, int(options.scale * PAIRS / 2))
    single = [one for lock_step in (True, False) for one in singles(lock_step)]
    double = [one for lock_step in (True, False) for one in pairs(lock_step, each)]
    if options.scale < 1:
        single = single[:: round(1 / options.scale)]
    verdicts = []
    for verdict in check_all(single + double):
        verdicts.append(verdict)
        if verdict.problem is not None:
            console.print(str(verdict), markup=False)
    return figures(verdicts, time.monotonic() - begun)


def figures(verdicts: Sequence[ScenarioResult], seconds: float) -> list[Figure]:
    """How many crashes there were, and after how many the end was another."""
    twice = sum(len(one.run.crash_at) == 2 for one in verdicts)
    failures = sum(one.problem is not None for one in verdicts)
    return [
        Figure("crash_points", len(verdicts) - twice, "1", "higher"),
        Figure("pairs", twice, "1", "higher"),
        Figure("failures", failures, "1", "lower", 0),
        Figure("seconds", seconds, "s", "lower", 180.0),
    ]
