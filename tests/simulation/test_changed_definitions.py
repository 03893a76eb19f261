"""A start with changed definitions keeps what stays, whoever crashes before it, in it and after.

At a restart aggregates, a cross, streams and rows beside come and go. The end is that of a run
without crashes whose definitions changed at the same offsets, and each example is learned once.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import NamedTuple

import pytest
from changing_shop import kept_inputs, served_by, shop, view
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import PARTITIONS, World, features, run
from small_shop import (
    ITEM,
    JOINED,
    LABELLED,
    LATER,
    START_MS,
    events,
    packed,
    popularity,
    visits,
)

from freshrank import Count, DecayedCount, LastK, Max, Sum, TimeSince, col
from freshrank.actors.messages import SourceOffsets, Version
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.store import StoredSnapshot
from freshrank.benchmarks.crashes.expected import entity_rows
from freshrank.benchmarks.crashes.invariants import Example, example_rows
from freshrank.benchmarks.crashes.process import Crash, CrashSchedule, Process, current_process
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.shard import Shard

SECONDS = 36
CHANGED_S = 18
ROUNDS = 8
"""Of the definitions of before: some records are read by those of now, and some are read again."""

SPEND = Sum("price", where=col.type == "order", windows=["1h"])
VIEWS = Count(where=col.type == "view", windows=["1m"])
RECENT = LastK("item", k=2)
ONE = view(spend=SPEND, views=VIEWS, recent=RECENT, idle=TimeSince())
OTHER = view(
    spend=SPEND,
    views=replace(VIEWS, windows=["1m", "30s"]),
    recent=RECENT,
    dearest=Max("price", windows=["5m"]),
    interest=DecayedCount(by="item", half_life="10m", top=3),
)
PAGES = view(visits, pages=Count(windows=["1m"]), seconds=Sum("seconds", windows=["1m"]))
USER_ITEM, RECENT_USER = [("user", "item")], [("user", "recent")]
MORE_OF_ITEMS = view(events, ITEM, seen=Count(windows=["1m"]), buyers=LastK("user", k=3))


class Change(NamedTuple):
    before: PartitionSpec
    now: PartitionSpec

    def kept(self, examples: Mapping[Example, int]) -> Counter[Example]:
        """Examples by what both definitions tell of them."""
        return kept_inputs(examples, self.before.encoder.layout, self.now.encoder.layout)


def comes(label: Joined | Labelled) -> Change:
    """An aggregate, a cross and a stream come, an aggregate and a cross go."""
    return Change(
        shop(ONE, label=label, crosses=USER_ITEM),
        shop(OTHER, PAGES, label=label, crosses=RECENT_USER),
    )


def goes(label: Joined | Labelled) -> Change:
    return Change(*reversed(comes(label)))


CHANGES = {
    "joined": comes(JOINED),
    "joined, without a stream": goes(JOINED),
    "labelled": comes(LABELLED),
    "labelled, without a stream": goes(LABELLED),
    "known later": Change(
        shop(ONE, label=LATER, beside=[popularity(events)]),
        shop(OTHER, label=LATER, beside=[MORE_OF_ITEMS]),
    ),
    "a cross": Change(shop(ONE, crosses=USER_ITEM), shop(ONE, crosses=RECENT_USER)),
}
FIRST, SECOND = "before the change", "from the change on"


def filled(change: Change) -> MemoryLog:
    """The records of a world; what was shown was served with the definitions of before."""
    world = World(change.before)
    world.fill(SECONDS)
    if "visits" in {*change.now.topics} - {*change.before.topics}:
        of_now = World(change.now)
        of_now.fill(SECONDS)
        for partition in range(PARTITIONS):
            append(records(of_now.log, "visits", partition), world.log, "visits", partition)
    return world.log


class LogRecord(NamedTuple):
    at_ms: int
    key: bytes | None
    value: bytes | None


def records(log: MemoryLog, topic: str, partition: int) -> list[LogRecord]:
    batch = log.read(topic, partition, 0, 100_000)
    columns = batch.timestamps_ms.tolist(), batch.keys, batch.values
    return [LogRecord(*one) for one in zip(*columns, strict=True)]


def append(found: Sequence[LogRecord], log: MemoryLog, topic: str, partition: int) -> None:
    for one in found:
        log.append(topic, partition, one.value, one.at_ms, one.key)


@dataclass
class End:
    features: dict[str, bytes]
    examples: Counter[Example]
    counted: dict[int, dict[str, int]]


class Run:
    """A shard and a learner, through a change of definitions, with crashes before and after it."""

    def __init__(self, name: str, crash_at: Mapping[str, Sequence[int]]) -> None:
        self.change = CHANGES[name]
        self.world = World(self.change.before, snapshot_interval_s=0.75)
        self.schedules = {part: CrashSchedule(crash_at.get(part, ())) for part in (FIRST, SECOND)}
        self.changed_at: dict[int, SourceOffsets] = {}
        """By partition: where the definitions changed."""

    async def to_the_end(self) -> End:
        world, change = self.world, self.change
        whole = filled(change)
        self._write(whole, range(CHANGED_S))
        await self._rounds(FIRST)
        # Shard and learner are switched off, and start again with other definitions.
        self.changed_at = {
            partition: PartitionState.restore(
                change.before, partition, self._files(partition)[0].read(), PARTITIONS
            ).offsets
            for partition in range(PARTITIONS)
        }
        world.learner.start_again(change.now.topics)
        world.spec = replace(change.now, settings=world.spec.settings)
        self._write(whole, range(CHANGED_S, SECONDS + 10))
        shard = await self._rounds(SECOND)
        for state in shard.states.values():
            for table in state.row_tables:
                slots = table.slots()
                keys = table.plan.row_keys(table.entities(slots))
                rows = [row.tobytes() for row in table.rows(slots)]
                assert [world.store.rows.get(key) for key in keys] == rows
        for plan in change.now.plan.row_plans:
            stored = {key for key in world.store.rows if key.startswith(plan.row_key(""))}
            assert stored == {
                plan.row_key(name.rpartition("/")[2])
                for name in features(shard)
                if name.startswith(f"{plan.name}/")
            }
        counted = {at: asdict(state.counters) for at, state in shard.states.items()}
        return End(features(shard), change.kept(world.learner.examples()), counted)

    def _write(self, whole: MemoryLog, seconds: range) -> None:
        """Write the records of these seconds to the log."""
        from_ms, until_ms = (START_MS + 1_000 * at for at in (seconds.start, seconds.stop))
        topics = dict.fromkeys([*self.change.before.topics, *self.change.now.topics])
        for topic in topics:
            for partition in range(PARTITIONS):
                found = [
                    one
                    for one in records(whole, topic, partition)
                    if from_ms <= one.at_ms < until_ms
                ]
                if topic == "shown" and seconds.start:  # some replicas are replaced later
                    found[::2] = [self._served_now(one) for one in found[::2]]
                append(found, self.world.log, topic, partition)

    def _served_now(self, record: LogRecord) -> LogRecord:
        assert record.value is not None
        before, now = self.change.before.encoder, self.change.now.encoder
        return record._replace(value=served_by(record.value, before, now))

    async def _rounds(self, part: str) -> Shard:
        """Step, starting again whatever crashes: so many rounds, or until all is read."""
        process, shard = Process("shard", self.schedules[part]), None
        for number in range(2_000):
            token = current_process.set(process)
            try:
                if shard is None:
                    started = self.world.shard()
                    await started.start()
                    shard = started
                await shard.step()
            except Crash:
                shard, process = None, Process("again", self.schedules[part])
            finally:
                current_process.reset(token)
            self.world.clock.ms += 250
            if number % 5 == 2:
                self.world.learner.checkpoint()
            if shard is None:
                continue
            if part == FIRST and number >= ROUNDS and all(map(self._files, range(PARTITIONS))):
                return shard
            if part == SECOND and self._is_done(shard):
                return shard
        raise AssertionError("not at the end")

    def _is_done(self, shard: Shard) -> bool:
        return all(
            self.world.log.end(topic, at) == state.offsets[topic]
            and not state.example_queue.unsent
            and not any(len(table.dirty) or table.evicted for table in state.row_tables)
            for at, state in shard.states.items()
            for topic in self.change.now.topics
        )

    def _files(self, partition: int) -> Sequence[StoredSnapshot]:
        return self.world.snapshots.candidates(f"partition-{partition}")


def ended(name: str, crash_at: Mapping[str, Sequence[int]]) -> tuple[Run, End]:
    found: list[tuple[Run, End]] = []

    async def test() -> None:
        made = Run(name, crash_at)
        found.append((made, await made.to_the_end()))

    run(test)
    return found[0]


@cache
def undisturbed(name: str) -> tuple[Run, End]:
    return ended(name, {})


def read(state: PartitionState, log: MemoryLog, until: SourceOffsets | None = None) -> None:
    """Take the records of all topics, up to these offsets."""
    for topic in state.spec.topics:
        batch = log.read(topic, state.partition, state.offsets[topic], 100_000)
        state.process(batch if until is None else batch.between(0, until[topic]))


def right(made: Run) -> End:
    """Where a run without crashes ends whose definitions change at the same offsets."""
    change, states = made.change, []
    for partition, changed_at in made.changed_at.items():
        before = PartitionState(change.before, partition, PARTITIONS)
        read(before, made.world.log, changed_at)
        assert before.offsets == changed_at
        now = PartitionState.restore(change.now, partition, packed(before), PARTITIONS)
        read(now, made.world.log)
        states.append(now)
    counted = {state.partition: asdict(state.counters) for state in states}
    return End(entity_rows(states), examples_of_before(change), counted)


def examples_of_before(change: Change) -> Counter[Example]:
    """Those of a run whose definitions never change."""
    log, found = filled(change), Counter[Example]()
    for partition in range(PARTITIONS):
        state = PartitionState(change.before, partition, PARTITIONS)
        read(state, log)
        while (examples := state.example_queue.peek()) is not None:
            found.update(example_rows(examples))
            end = examples.offset_range.end
            state.example_queue.acknowledge(Progress(True, False, end, end, Version(1, 1)))
    return change.kept(found)


def same(made: Run, end: End) -> None:
    wanted = right(made)
    assert end.features == wanted.features
    assert end.examples == wanted.examples
    assert set(end.examples.values()) == {1}
    assert end.counted == wanted.counted


@pytest.mark.parametrize("name", CHANGES)
def test_without_a_crash_it_ends_as_a_run_that_changed_at_the_same_offsets(name: str) -> None:
    made, end = undisturbed(name)
    same(made, end)
    ends = [made.world.log.end("events", at) for at in range(PARTITIONS)]
    at = [made.changed_at[partition]["events"] for partition in range(PARTITIONS)]
    assert all(5 < begun < whole - 5 for begun, whole in zip(at, ends, strict=True))
    assert end.examples.total() > 20
    if made.change.now.impressions_topic is not None:
        carried = sum(counted["impressions_carried"] for counted in end.counted.values())
        shown = sum(counted["impressions"] for counted in end.counted.values())
        assert 2 < carried < shown - 2
    assert {name.rpartition("/")[0] for name in end.features} == {
        plan.name for plan in made.change.now.plan.row_plans
    }


@pytest.mark.repeats
@pytest.mark.parametrize("part", [FIRST, SECOND])
@pytest.mark.parametrize(("name", "step"), [(name, 37) for name in CHANGES])
def test_a_crash_at_any_call_changes_nothing(name: str, step: int, part: str) -> None:
    """Before and after some of the calls; others in each run of the tests, for the sake of time."""
    calls = len(undisturbed(name)[0].schedules[part].passed)
    for at in range(random.randrange(step), calls, step):
        same(*ended(name, {part: [at]}))


@pytest.mark.repeats
@settings(deadline=None, max_examples=12)
@given(
    st.sampled_from(sorted(CHANGES)),
    st.lists(st.integers(0, 250), max_size=3),
    st.lists(st.integers(0, 250), max_size=3),
)
def test_crashes_again_and_again_change_nothing(
    name: str, before: list[int], after: list[int]
) -> None:
    same(*ended(name, {FIRST: before, SECOND: after}))
