"""A crash at every step of shard, learner and replica: does a run end as the one without.

Each scenario runs the whole system over a short recorded log (`simulation`), crashes at one point
or at two, starts again what crashed, and compares the final state with that of the run without
crashes (`expected.FinalState`): in lock-step down to the bits of the weights, else down to the
examples that are in them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from freshrank.actors.errors import FreshrankError
from freshrank.benchmarks.crashes.expected import FinalState
from freshrank.benchmarks.crashes.invariants import Difference
from freshrank.benchmarks.crashes.process import CrashPoint, CrashSchedule
from freshrank.benchmarks.crashes.recorded_stream import recorded_pipeline
from freshrank.benchmarks.crashes.simulation import CrashSimulation
from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.report import Figure

# Pairs of crashes of a full bench, at some 50 ms of a core each.
PAIRS = 1_600
# The second crash of every other pair is within so many points of the first: it meets what is just
# starting again.
_SOON = 60
# Rounds for which parts are away in some of the pairs: a second of the simulated clock, in which
# the others read and take checkpoints.
_AWAY_ROUNDS = 4
# Seconds after which a run counts as stuck: it takes some milliseconds, and on a busy machine a
# minute when it is the first to compile the kernels.
_TIMEOUT_S = 240.0
# In memory where there is such a folder: files are many and small, and none outlives its run.
_FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Scenarios that a worker process takes at once.
_BATCH = 10


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run: its mode, its crashes (`CrashSchedule.crash_at`), and how long parts are away."""

    lock_step: bool
    crash_at: tuple[int, ...] = ()
    away_rounds: int = 0


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """How a scenario ended."""

    scenario: Scenario
    crashes: tuple[CrashPoint, ...]
    problem: str | None
    """None: it ended as the run without crashes."""

    def __str__(self) -> str:
        mode = "in lock-step" if self.scenario.lock_step else "asynchronous"
        points = ", then ".join(map(str, self.crashes))
        return f"{mode}, {points} ({self.scenario}): {self.problem}"


def run_scenario(scenario: Scenario) -> tuple[CrashSchedule, FinalState]:
    """Run it in a temporary folder. Raises Difference when it does not come to an end."""
    schedule = CrashSchedule(scenario.crash_at)

    states: list[FinalState] = []  # not a result of the task: asyncio renders those as text

    async def simulate(folder: str) -> None:
        simulation = CrashSimulation(
            recorded_pipeline(),
            Path(folder),
            schedule,
            lock_step=scenario.lock_step,
            away_rounds=scenario.away_rounds,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                states.append(await simulation.run())
        except TimeoutError as error:
            raise Difference(f"not at the end after {_TIMEOUT_S} s") from error

    with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
        asyncio.run(simulate(folder))
    return schedule, states[0]


@cache
def undisturbed(lock_step: bool) -> tuple[CrashSchedule, FinalState]:
    """Return all points that a run without crashes passes, and its final state."""
    return run_scenario(Scenario(lock_step))


def check(scenario: Scenario) -> ScenarioResult:
    """Run `scenario` and compare its final state with that of the run without crashes."""
    _, expected = undisturbed(scenario.lock_step)
    schedule = CrashSchedule()
    try:
        schedule, state = run_scenario(scenario)
        state.compare(expected, weights=scenario.lock_step)
    except (Difference, FreshrankError) as error:
        problem = f"{type(error).__name__}: {error}"
        return ScenarioResult(scenario, tuple(schedule.crashes), problem)
    return ScenarioResult(scenario, tuple(schedule.crashes), None)


def single_crashes(lock_step: bool, of_each: int | None = None, seed: int = 1) -> list[Scenario]:
    """Return a scenario for each distinct crash point of the undisturbed run.

    With `of_each`, at most so many of each process and step, drawn from all of the run by `seed`.
    """
    random = np.random.default_rng(seed)
    schedule, _ = undisturbed(lock_step)
    places = defaultdict[CrashPoint, list[int]](list)
    for at in schedule.distinct():
        places[schedule.passed[at]].append(at)
    if of_each is not None:
        for point, all_ in places.items():
            places[point] = random.permutation(all_)[:of_each].tolist()
    return [Scenario(lock_step, (at,)) for all_ in places.values() for at in all_]


def crash_pairs(lock_step: bool, count: int, seed: int = 1) -> list[Scenario]:
    """Return scenarios with two crashes at random points, every other second one soon.

    In some of them the crashed parts start again at once, in the others after a while.
    """
    random = np.random.default_rng(seed)
    passed = len(undisturbed(lock_step)[0].passed)
    firsts = random.integers(0, passed, count)
    ranges = np.where(np.arange(count) % 2 == 0, _SOON, np.maximum(passed - firsts, _SOON))
    seconds = random.integers(0, ranges)
    away = random.choice([0, _AWAY_ROUNDS], count)
    drawn = zip(firsts.tolist(), seconds.tolist(), away.tolist(), strict=True)
    return [Scenario(lock_step, (first, second), rounds) for first, second, rounds in drawn]


def check_all(scenarios: Sequence[Scenario]) -> Iterator[ScenarioResult]:
    """Check `scenarios` on all cores; yield the results in their order."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=context) as pool:
        yield from pool.map(check, scenarios, chunksize=_BATCH)


def run(options: BenchOptions, console: Console) -> list[Figure]:
    """Check all crash points and `PAIRS` pairs; with a scale below 1, a share of both."""
    began = time.monotonic()
    pairs_of_mode = max(1, int(options.scale * PAIRS / 2))
    with console.status("running without crashes"):
        single = [one for lock_step in (True, False) for one in single_crashes(lock_step)]
        pairs = [
            one for lock_step in (True, False) for one in crash_pairs(lock_step, pairs_of_mode)
        ]
    if options.scale < 1:
        single = single[:: round(1 / options.scale)]
    scenarios = single + pairs
    results = []
    for result in track(check_all(scenarios), "crashing", len(scenarios), console=console):
        results.append(result)
        if result.problem is not None:
            console.print(str(result), markup=False)
    return figures(results, time.monotonic() - began)


def figures(results: Sequence[ScenarioResult], seconds: float) -> list[Figure]:
    """Return the numbers of single crashes, of pairs, and of runs that ended differently."""
    pairs = sum(len(result.scenario.crash_at) == 2 for result in results)
    failures = sum(result.problem is not None for result in results)
    return [
        Figure("crash_points", len(results) - pairs, "1", "higher"),
        Figure("pairs", pairs, "1", "higher"),
        Figure("failures", failures, "1", "lower", 0),
        Figure("seconds", seconds, "s", "lower", 180.0),
    ]
