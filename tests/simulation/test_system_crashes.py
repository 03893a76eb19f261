"""A run in which any part crashes at any step and starts again ends as the run without crashes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.errors import ChecksumMismatch
from freshrank.actors.messages import BEGINNING, Delta, OffsetRange, Version
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.benchmarks.crashes import bench as crashes
from freshrank.benchmarks.crashes.bench import (
    Scenario,
    ScenarioResult,
    check,
    undisturbed,
)
from freshrank.benchmarks.crashes.expected import FinalState
from freshrank.benchmarks.crashes.process import (
    CrashPoint,
    Process,
    current_process,
    replaced,
)
from freshrank.deploy.wiring.lock_step import BatchStep, DeterministicBatches
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.snapshot import Snapshot
from freshrank.learner import checkpoints
from freshrank.learner.checkpoints import Checkpoint
from freshrank.learner.core import Learner
from freshrank.learner.parameters.gradient_sum import AcceptedOffsets
from freshrank.learner.parameters.weights import ModelWeights

# Of each mode: pairs of crashes, and single ones at each step of each process. Each run of the
# tests draws others; the bench `crashes` tries all of the single ones, and many more pairs.
PAIRS = 16
OF_EACH_STEP = 1
# A fault is seen by many crashes one after the other, so those that lie this far apart come first.
APART = 32
# Tests that the crashes of a mode are shared out among, so that several processes can run them.
PARTS = 4

MODES = pytest.mark.parametrize("lock_step", [True, False], ids=["lock-step", "asynchronous"])


def test_there_are_hundreds_of_points_to_crash_at() -> None:
    assert sum(len(crashes.single_crashes(lock_step)) for lock_step in (True, False)) > 800


def test_crashes_are_checked_on_all_cores() -> None:
    scenarios = crashes.single_crashes(lock_step=True)[:3]
    results = list(crashes.check_all(scenarios))
    assert [one.scenario for one in results] == scenarios
    assert [one.problem for one in results] == [None] * 3


@MODES
def test_the_undisturbed_run_is_worth_comparing_with(lock_step: bool) -> None:
    schedule, end = undisturbed(lock_step)
    steps = {(point.process.partition("-")[0], point.step) for point in schedule.passed}
    saved = {"write half", "write", "fsync", "rename", "prune"}
    assert steps >= {("learner", step) for step in LEARNER_STEPS | saved}
    assert steps >= {("shard", step) for step in SHARD_STEPS | saved - {"prune"}}
    assert steps >= {("replica", "receive"), ("replica", "swap")}
    labels = Counter(example[3] for example in end.examples)
    assert labels[0.0] > 10 and labels[1.0] > 10
    assert set(end.examples.values()) == {1}
    assert end.quarantined == []
    assert end.replica
    counted = Counter[str]()
    for counters in end.counters.values():
        counted.update(counters)
    assert min(counted["duplicates"], counted["late"], counted["dead"], counted["evicted"]) > 1
    assert all(len(pending[3]) > 0 for pending in end.pending.values())


LEARNER_STEPS = {
    "restore", "aggregate", "guard gradient", "guard loss", "step", "guard weights", "publish",
    "checkpoint", "durable",
}  # fmt: skip
SHARD_STEPS = {
    "seek", "poll", "decode", "update", "join", "write to Redis", "reject", "differentiate",
    "send gradient", "acknowledge", "receive", "swap",
}  # fmt: skip


@pytest.mark.repeats
@MODES
@pytest.mark.parametrize("part", range(PARTS))
def test_a_crash_at_any_point_and_at_pairs_of_them_changes_nothing(
    lock_step: bool, part: int
) -> None:
    seed = random.randrange(1_000_000)  # the same one in all parts
    singles = crashes.single_crashes(lock_step, OF_EACH_STEP, seed)[part::PARTS]
    pairs = crashes.crash_pairs(lock_step, PAIRS, seed)[part::PARTS]
    results = list(map(check, singles + pairs))
    assert [str(one) for one in results if one.problem is not None] == []
    assert all(len(one.crashes) == 1 for one in results[: len(singles)])


@pytest.mark.repeats
@settings(deadline=None, max_examples=8)
@given(st.booleans(), st.lists(st.integers(0, 700), min_size=2, max_size=3), st.integers(0, 8))
def test_crashes_again_and_again_change_nothing(
    lock_step: bool, crash_at: list[int], away_rounds: int
) -> None:
    assert check(Scenario(lock_step, tuple(crash_at), away_rounds)).problem is None


Fault: TypeAlias = list[tuple[type | ModuleType, str, Callable[..., Any]]]
"""Functions of a class or module, and their faulty replacements."""


def offset_before_state() -> Fault:
    """A snapshot has new offsets and the state of the snapshot before."""
    original = Snapshot.pieces
    before: dict[Any, dict[str, StateView]] = {}

    def pieces(snapshot: Snapshot) -> Iterator[Piece]:
        state = ("tables/", "dedup/", "joiner")
        now = {
            name: copied(part()) for name, part in snapshot.parts.items() if name.startswith(state)
        }
        earlier = before.get(snapshot.meta["partition"], now)
        before[snapshot.meta["partition"]] = now
        return original(replace(snapshot, parts={**snapshot.parts, **earlier}))

    return [(Snapshot, "pieces", pieces)]


def copied(arrays: dict[str, Array]) -> StateView:
    """A copy of `arrays`, which later changes of them do not reach."""
    own = {name: array.copy() for name, array in arrays.items()}
    return lambda: own


def snapshot_without_joiner() -> Fault:
    """A snapshot lacks the impressions that wait for their label."""
    original = Snapshot.pieces

    def pieces(snapshot: Snapshot) -> Iterator[Piece]:
        joiner = snapshot.parts["joiner"]()
        none = {name: joiner[name][:0] for name in joiner if name.startswith("pending.")}
        return original(
            replace(snapshot, parts={**snapshot.parts, "joiner": copied(joiner | none)})
        )

    return [(Snapshot, "pieces", pieces)]


def dropped_delta() -> Fault:
    """Every third delta changes the version and no weights."""
    original = ModelWeights.apply

    def apply(weights: ModelWeights, delta: Delta) -> None:
        if delta.base is not None and delta.version.step % 3 == 0:
            weights.version = delta.version
        else:
            original(weights, delta)

    return [(ModelWeights, "apply", apply)]


def dense_without_sparse() -> Fault:
    """A delta changes the dense weights and no rows, and its checksum is not checked."""
    original = ModelWeights.apply

    def apply(weights: ModelWeights, delta: Delta) -> None:
        original(weights, replace(without_rows(delta), checksum=None))

    return [(ModelWeights, "apply", apply)]


def without_rows(delta: Delta) -> Delta:
    """`delta` with its dense weights alone."""
    state = None if delta.row_state is None else delta.row_state[:0]
    return replace(delta, keys=delta.keys[:0], rows=delta.rows[:0], row_state=state)


def gradient_twice() -> Fault:
    """A checkpoint has the weights of now and the applied offsets of the one before."""
    original = checkpoints.take
    before: dict[int, Checkpoint] = {}

    def take(learner: Learner) -> Checkpoint:
        found = original(learner)
        earlier = before.get(id(learner), found)
        before[id(learner)] = found
        meta = {**found.meta, "applied": earlier.meta["applied"]}
        return replace(found, meta=meta, applied=earlier.applied)

    return [(checkpoints, "take", take)]


def gap_taken() -> Fault:
    """A learner takes any offset range of a partition as the first one that it gets."""

    def fits(accepted: AcceptedOffsets, offset_range: OffsetRange) -> bool:
        return (
            accepted.offsets.get(offset_range.partition, offset_range.begin) == offset_range.begin
        )

    return [(AcceptedOffsets, "fits", fits)]


def newest_epoch_taken() -> Fault:
    """A replica takes a restarted learner's weights even if they have learned less."""
    return [(Follower, "_contains_held", lambda follower, delta: True)]


def order_of_partitions() -> Fault:
    """Lost offset ranges are given again by partition, not in the order of the log."""

    def next_step(
        batches: DeterministicBatches, states: Sequence[PartitionState]
    ) -> BatchStep | None:
        steps = [original(batches, [state]) for state in states]
        again = [step for step in steps if step is not None and step.until is None]
        return min(again, key=lambda step: step.partition) if again else original(batches, states)

    original = DeterministicBatches.next_step
    return [(DeterministicBatches, "next_step", next_step)]


def runs_crashing(lock_step: bool, process: str, *, early: bool = False) -> list[Scenario]:
    """The later crash points of `process`, when there are snapshots and checkpoints, or `early`.

    Those of all parts of the run come first.
    """
    schedule, _ = undisturbed(lock_step)
    ends = [at for at in schedule.distinct() if schedule.passed[at].process.startswith(process)]
    half = len(ends) // 2
    chosen = ends[:half] if early else ends[half:]
    return [Scenario(lock_step, (at,)) for first in range(APART) for at in chosen[first::APART]]


def first_problem(fault: Callable[[], Fault], runs: Sequence[Scenario]) -> str:
    """The problem of the first run that ends differently; "nothing" if none does."""
    undisturbed(runs[0].lock_step)  # before there is a fault
    for run in runs:
        with replaced(fault()):
            problem = check(run).problem
        if problem is not None:
            return problem
    return "nothing"


@pytest.mark.repeats
@pytest.mark.parametrize(
    ("fault", "lock_step", "process", "problem"),
    [
        (offset_before_state, True, "shard", "Difference: features"),
        (offset_before_state, False, "shard", "Difference: features"),
        (snapshot_without_joiner, True, "shard", "Difference: "),
        (snapshot_without_joiner, False, "shard", "Difference: "),
        (dropped_delta, True, "replica", "not the weights that are"),
        (dropped_delta, False, "replica", "not the weights that are"),
        (dense_without_sparse, True, "replica", "not the weights that are"),
        (gradient_twice, True, "learner", "Difference: examples"),
        (gradient_twice, False, "learner", "Difference: examples"),
        (newest_epoch_taken, True, "learner", "replica went back"),
        (order_of_partitions, True, "learner", "Difference: weights"),
    ],
)
def test_a_planted_fault_is_seen(
    fault: Callable[[], Fault], lock_step: bool, process: str, problem: str
) -> None:
    assert problem in first_problem(fault, runs_crashing(lock_step, process))


def test_a_learner_that_takes_a_gap_is_seen_when_it_has_lost_the_first_examples() -> None:
    runs = runs_crashing(False, "learner", early=True)
    assert "Difference: examples" in first_problem(gap_taken, runs)


@MODES
def test_a_delta_that_lost_its_rows_is_refused_and_changes_nothing(lock_step: bool) -> None:
    undisturbed(lock_step)  # with whole deltas
    original, refused = ModelWeights.apply, set[tuple[Process | None, Version]]()

    def apply(weights: ModelWeights, delta: Delta) -> None:
        arrival = current_process.get(), delta.version
        lost = delta.base is not None and delta.version.step % 3 == 0 and arrival not in refused
        try:
            original(weights, without_rows(delta) if lost else delta)
        except ChecksumMismatch:
            refused.add(arrival)
            raise

    with replaced([(ModelWeights, "apply", apply)]):
        assert check(Scenario(lock_step)).problem is None
    assert {process.name for process, _ in refused if process} == {"shard-0", "shard-1", "replica"}


@MODES
def test_whatever_differs_is_named(lock_step: bool) -> None:
    _, end = undisturbed(lock_step)
    end.compare(end, weights=True)
    others: dict[str, Any] = {
        "offsets": {**end.offsets, 0: BEGINNING},
        "features": dict(list(end.features.items())[1:]),
        "pending": {**end.pending, 1: []},
        "rejected": frozenset(list(end.rejected)[1:]),
        "quarantined": ["an offset range"],
        "replica": False,
        "weights": {**end.weights, "rows": b""},
    }
    for name, other in others.items():
        with pytest.raises(AssertionError, match=f"^{name}: "):
            replace(end, **{name: other}).compare(end, weights=True)
    twice: FinalState = replace(end, examples=end.examples + end.examples)
    with pytest.raises(AssertionError, match="more than once"):
        twice.compare(twice, weights=True)


def test_the_bench_counts_crash_points_pairs_and_failures() -> None:
    point = CrashPoint("learner", "step", after=True)
    results = [
        ScenarioResult(Scenario(True, (1,)), (point,), None),
        ScenarioResult(Scenario(True, (1, 2)), (point, point), "Difference: weights"),
    ]
    assert str(results[1]) == (
        "in lock-step, learner after step, then learner after step "
        "(Scenario(lock_step=True, crash_at=(1, 2), away_rounds=0)): Difference: weights"
    )
    figures = {one.name: one for one in crashes.figures(results, 12.0)}
    assert (figures["crash_points"].value, figures["pairs"].value) == (1, 1)
    assert (figures["failures"].value, figures["failures"].met) == (1, False)
    assert figures["seconds"].met
