"""The whole system goes on with a changed pipeline, whatever crashes before and after.

At a restart features, a stream and a cross come and go. Rows end as in a run without crashes whose
definitions changed at the same offsets, and the model has learned each example once.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
from changing_shop import kept_inputs
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import packed

from freshrank import Pipeline
from freshrank.actors.messages import SourceOffsets
from freshrank.benchmarks.crashes.expected import FinalState, entity_rows
from freshrank.benchmarks.crashes.invariants import Example, example_rows
from freshrank.benchmarks.crashes.process import CrashSchedule
from freshrank.benchmarks.crashes.recorded_stream import (
    PARTITIONS,
    changed_pipeline,
    recorded_log,
    recorded_pipeline,
)
from freshrank.benchmarks.crashes.simulation import CrashSimulation
from freshrank.deploy.config.settings import Settings
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.partition.partition import PartitionState

CHANGES = {
    "more": (recorded_pipeline(), changed_pipeline()),
    "fewer": (changed_pipeline(), recorded_pipeline()),
}
BOTH = pytest.mark.parametrize("name", CHANGES)
MODES = pytest.mark.parametrize("lock_step", [True, False], ids=["lock-step", "asynchronous"])


class ChangedRun:
    """A run through a change of pipelines, and what it has to end with."""

    def __init__(
        self, name: str, lock_step: bool, crash_at: Sequence[int] = (), away_rounds: int = 0
    ) -> None:
        self.name, (self.before, self.now) = name, CHANGES[name]
        self.schedule = CrashSchedule(crash_at)
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(self._simulate(Path(folder), lock_step, away_rounds))

    async def _simulate(self, folder: Path, lock_step: bool, away_rounds: int) -> None:
        simulation = CrashSimulation(
            self.before,
            folder,
            self.schedule,
            lock_step=lock_step,
            away_rounds=away_rounds,
            then=self.now,
        )
        async with asyncio.timeout(240):
            self.end = await simulation.run()
        self.changed_at = {
            partition: state_of(self.before, partition, file).offsets
            for partition, file in simulation.changed_at.items()
        }

    def check(self) -> FinalState:
        """Compare the end with what is right."""
        end, log = self.end, recorded_log(self.before, then=self.now)
        states = [self._right(partition, log) for partition in range(PARTITIONS)]
        assert end.offsets == {state.partition: state.offsets for state in states}
        assert end.features == entity_rows(states)
        assert end.counters == {state.partition: asdict(state.counters) for state in states}
        assert end.replica
        layouts = self.before.encoder.layout, self.now.encoder.layout
        learned = kept_inputs(end.examples, *layouts)
        assert learned == kept_inputs(examples_of(self.name), *layouts)
        assert set(learned.values()) == {1}
        return end

    def _right(self, partition: int, log: MemoryLog) -> PartitionState:
        """The state of a run without crashes."""
        before = state_of(self.before, partition)
        read(before, log, self.changed_at[partition])
        now = state_of(self.now, partition, packed(before))
        read(now, log)
        return now


def state_of(
    pipeline: Pipeline, partition: int, file: bytes | bytearray | None = None
) -> PartitionState:
    spec = pipeline.spec(Settings().shards)
    if file is None:
        return PartitionState(spec, partition, PARTITIONS)
    return PartitionState.restore(spec, partition, file, PARTITIONS)


def read(state: PartitionState, log: MemoryLog, until: SourceOffsets | None = None) -> None:
    """Take the records of all topics, up to these offsets."""
    for topic in state.spec.topics:
        batch = log.read(topic, state.partition, state.offsets[topic], 100_000)
        state.process(batch if until is None else batch.between(0, until[topic]))


@cache
def examples_of(name: str) -> Counter[Example]:
    """Those of a run whose definitions never change."""
    pipeline = CHANGES[name][0]
    log, found = recorded_log(pipeline), Counter[Example]()
    for partition in range(PARTITIONS):
        state = state_of(pipeline, partition)
        read(state, log)
        examples = state.example_queue.peek()
        assert examples is not None and state.example_queue.unsent == len(examples)
        found.update(example_rows(examples))
    return found


@cache
def undisturbed(name: str, lock_step: bool) -> ChangedRun:
    return ChangedRun(name, lock_step)


@MODES
@BOTH
def test_without_a_crash_it_ends_as_a_run_that_changed_at_the_same_offsets(
    name: str, lock_step: bool
) -> None:
    made = undisturbed(name, lock_step)
    end = made.check()
    counted = Counter[str]()
    for counters in end.counters.values():
        counted.update(counters)
    assert 3 < counted["impressions_carried"] < counted["impressions"] - 3
    assert min(counted["duplicates"], counted["late"], counted["dead"], counted["forgotten"]) > 1
    assert sum(offsets["behaviour"] for offsets in made.changed_at.values()) > 5
    labels = Counter(example[3] for example in end.examples)
    assert labels[0.0] > 10 and labels[1.0] > 5


@pytest.mark.repeats
@MODES
@BOTH
def test_a_crash_at_any_point_changes_nothing(name: str, lock_step: bool) -> None:
    """At some points, others in each run of the tests, for the sake of time."""
    points = undisturbed(name, lock_step).schedule.distinct()
    for at in random.sample(points, 12):
        ChangedRun(name, lock_step, [at]).check()


@pytest.mark.repeats
@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from(sorted(CHANGES)),
    st.booleans(),
    st.lists(st.integers(0, 700), min_size=2, max_size=3),
    st.integers(0, 6),
)
def test_crashes_again_and_again_change_nothing(
    name: str, lock_step: bool, crash_at: list[int], away_rounds: int
) -> None:
    ChangedRun(name, lock_step, crash_at, away_rounds).check()
