"""A stream whose records lie anywhere ends as one that is keyed by its entity, whoever crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import PARTITIONS, FussySink, ImpatientSource, World, features, run, stepwise
from small_shop import (
    ITEM,
    ITEM_KIND,
    JOINED,
    LABELLED,
    USER_ITEM,
    Event,
    events,
    item_spec,
    spec,
)

from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.benchmarks.crashes.invariants import Example
from freshrank.benchmarks.crashes.process import (
    Crash,
    CrashSchedule,
    Process,
    as_step,
    current_process,
)
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.shard.shard import Shard

SECONDS = 14
STATE = "1f"
LABELS: dict[str, Joined | Labelled] = {
    "joined": replace(JOINED, within="5s", grace="2s"),
    "labelled": LABELLED,
}
# The events of users, copied for features of items, and of items and kinds; those copied for the
# users, which features of users and items are made of, too.
ITEMS, KINDS, OWNED = "items", "items and kinds", "users and items"
ENTITIES = {ITEMS: ITEM, KINDS: ITEM_KIND, OWNED: USER_ITEM}
# What has a process of its own, or one together with the other.
REKEYER, SHARD, BOTH = "re-keyer", "shard", "both"


class RecordByRecord(FussySink):
    """A sink that writes each record of a call in a step of its own."""

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        if self.away:
            raise Unavailable("kafka", "away")
        send = as_step(self.send, "send")
        for key, value in records:
            await send(topic, key, value)
        return [None] * len(records)


class LogRecord(NamedTuple):
    at_ms: int
    key: bytes | None
    value: bytes | None


def records_of(log: MemoryLog, topic: str, partition: int) -> list[LogRecord]:
    batch = log.read(topic, partition, 0, 100_000)
    columns = batch.timestamps_ms.tolist(), batch.keys, batch.values
    return [LogRecord(*one) for one in zip(*columns, strict=True)]


class AnywhereWorld(World):
    """A world whose events lie in partitions that have nothing to do with their users."""

    def __init__(self, name: str) -> None:
        self.name, self.source = name, replace(events, partitioner="any")
        if name in LABELS:
            keyed, anywhere = spec(LABELS[name]), spec(LABELS[name], partitioner="any")
        else:
            of, source = ENTITIES[name], self.source if name == OWNED else events
            keyed, anywhere = item_spec("murmur2", of), item_spec(entity=of, source=source)
        self.keyed = World(keyed)
        """The same, keyed by the entity."""
        super().__init__(replace(anywhere, state=STATE))
        self.sink = RecordByRecord(self.log, self.clock)
        self.progress = MemorySnapshots()
        """The files of the re-keyer."""

    def rekeyer(self) -> Rekeyer:
        """A new re-keyer on what its predecessor left behind."""

        async def nothing() -> None: ...

        connectors = Connectors(
            partitions=PARTITIONS,
            source=lambda: stepwise(ImpatientSource(self.log, at_once=5)),
            sink=stepwise(self.sink),
            store=self.store,
            status_registry=self.status_registry,
            clock=self.clock,
            close=nothing,
        )
        stream, files = self.spec.stream, stepwise(self.progress)
        if self.name == OWNED:  # the copies are those of the users' own features
            stream = self.source
        return Rekeyer(stream, range(PARTITIONS), STATE, connectors, files)

    def fill(self, seconds: int, seed: int = 1) -> None:
        """Write what a keyed world has; the events of a user lie in one partition, some other."""
        self.keyed.fill(seconds, seed)
        if self.name in (ITEMS, KINDS):
            self._fill_items()
            return
        found: list[LogRecord] = []
        for partition in range(PARTITIONS):
            found += records_of(self.keyed.log, "events", partition)
            for topic in self.keyed.spec.topics[1:]:
                for one in records_of(self.keyed.log, topic, partition):
                    self.log.append(topic, partition, one.value, one.at_ms, one.key)
        for one in sorted(found, key=lambda event: event.at_ms):
            user = one.key if one.value is None else one.value.partition(b'"user":"')[2]
            place = partition_of((user or b"").partition(b'"')[0] + b"?", PARTITIONS)
            self.log.append("events", place, one.value, one.at_ms, one.key)

    def _fill_items(self) -> None:
        """The events of the users' partitions, and the same in those of their items.

        A user who is forgotten leaves the rows of items as they are.
        """
        filled, self.keyed.log = self.keyed.log, MemoryLog(PARTITIONS)
        partitions = range(PARTITIONS)
        found = [(at, one) for at in partitions for one in records_of(filled, "events", at)]
        for partition, one in sorted(found, key=lambda event: event[1].at_ms):
            self.log.append("events", partition, one.value, one.at_ms, one.key)
            if one.value is not None:
                place = partition_of(self._key_of(one.value), PARTITIONS)
                self.keyed.log.append("events", place, one.value, one.at_ms)

    def _key_of(self, value: bytes) -> bytes:
        try:
            event = msgspec.json.decode(value, type=Event)
        except msgspec.DecodeError:
            return b""
        return ":".join(str(getattr(event, part)) for part in self.spec.stream.key.parts).encode()

    def copied(self) -> int:
        topic = self.spec.topics[0]
        return sum(self.log.end(topic, at) for at in range(PARTITIONS))


@dataclass
class End:
    features: dict[str, bytes]
    examples: Counter[Example]
    counted: Counter[str]
    """What became of the records: a copy that is taken twice would be a duplicate."""
    dead: set[tuple[str, int, int]]
    calls: int = 0
    copied: int = 0


class Run:
    """A re-keyer and a shard, which go on until nothing is left to read."""

    def __init__(self, world: AnywhereWorld, crashing: str, crash_at: Sequence[int]) -> None:
        self.world = world
        self.schedule = CrashSchedule(crash_at)
        both = Process(BOTH, self.schedule)
        self.processes = {
            name: both if crashing == BOTH else self._process(name, crashing)
            for name in (REKEYER, SHARD)
        }
        self.rekeyer, self.shard = world.rekeyer(), world.shard()
        self.started: set[str] = set()

    def _process(self, name: str, crashing: str) -> Process:
        return Process(name, self.schedule if name == crashing else CrashSchedule())

    async def step(self, name: str) -> None:
        """One step of a part, or its start; one that has crashed is made again."""
        part = self.rekeyer if name == REKEYER else self.shard
        token = current_process.set(self.processes[name])
        try:
            if name in self.started:
                await part.step()
                if name == REKEYER and self.world.clock.ms % 1_000 == 0:  # as once a second
                    await self.rekeyer.save()
            else:
                await part.start()
                self.started.add(name)
        except Crash:
            self._make_dead_again()
        except Unavailable:
            if name == REKEYER:
                self.started.discard(name)
        finally:
            current_process.reset(token)

    def _make_dead_again(self) -> None:
        dead = [name for name, process in self.processes.items() if not process.alive]
        again = Process("again", self.schedule)
        for name in dead:
            self.processes[name] = again
            self.started.discard(name)
            if name == REKEYER:
                self.rekeyer = self.world.rekeyer()
            else:
                self.shard = self.world.shard()

    async def until_read(self) -> End:
        world, idle, seen = self.world, 0, -1
        for _ in range(3_000):
            await self.step(REKEYER)
            await self.step(SHARD)
            world.clock.ms += 250
            copied = world.copied()
            idle = idle + 1 if copied == seen and self.started == {REKEYER, SHARD} else 0
            seen = copied
            if idle > 8 and all(
                world.log.end(topic, partition) == state.offsets[topic]
                and not state.example_queue.unsent
                for partition, state in self.shard.states.items()
                for topic in world.spec.topics
            ):
                break
        else:
            raise AssertionError(f"not done: {await self.shard.status()}")
        dead = {(one.topic, one.partition, one.offset) for _, one in world.sink.rejected}
        examples, calls = world.learner.examples(), len(self.schedule.passed) // 2
        return End(rows(self.shard), examples, counted(self.shard), dead, calls, seen)


def ended(name: str, crashing: str, crash_at: Sequence[int] = ()) -> End:
    """Where a world ends in which a process crashes at these points."""
    found: list[End] = []

    async def test() -> None:
        world = AnywhereWorld(name)
        world.fill(SECONDS)
        found.append(await Run(world, crashing, crash_at).until_read())

    run(test)
    return found[0]


@cache
def keyed(name: str) -> End:
    """Where a world ends whose topic is keyed by the user: what is right."""
    found: list[End] = []

    async def test() -> None:
        world = AnywhereWorld(name)
        world.fill(SECONDS)
        shard = world.keyed.shard()
        await shard.start()
        await world.keyed.until_read(shard)
        examples = world.keyed.learner.examples()
        found.append(End(rows(shard), examples, counted(shard), set()))

    run(test)
    return found[0]


@cache
def undisturbed(name: str, crashing: str) -> End:
    return ended(name, crashing)


def rows(shard: Shard) -> dict[str, bytes]:
    """The row of every entity, without the offset of its last event: copies lie elsewhere."""
    return {name: row[:8] + row[16:] for name, row in features(shard).items()}


def counted(shard: Shard) -> Counter[str]:
    totals = sum((Counter(asdict(state.counters)) for state in shard.states.values()), Counter())
    del totals["copied_again"]
    return totals


def same(end: End, name: str) -> None:
    right, without_crash = keyed(name), undisturbed(name, BOTH)
    assert end.features == right.features
    assert end.examples == right.examples
    if name == ITEMS:  # those are told by the shards of users
        assert end.counted["dead"] == 0 < right.counted["dead"]
        assert {**end.counted, "dead": 0} == {**right.counted, "dead": 0}
    else:
        assert name in LABELS or end.counted["dead"] == 0
        assert end.counted == right.counted
    assert set(end.examples.values()) <= {1}
    assert end.dead == without_crash.dead


@pytest.mark.parametrize("name", LABELS)
def test_without_a_crash_it_ends_as_the_topic_that_is_keyed_by_the_user(name: str) -> None:
    same(undisturbed(name, BOTH), name)
    assert len(undisturbed(name, BOTH).dead) > 0
    assert {topic for topic, _, _ in undisturbed(name, BOTH).dead} == {"events"}
    assert len(keyed(name).features) > 5
    assert keyed(name).counted["forgotten"] > 0
    assert Counter(label for _, _, _, label, _ in keyed(name).examples).keys() == {0.0, 1.0}


def test_features_of_items_end_as_those_of_a_topic_that_is_keyed_by_the_item() -> None:
    same(undisturbed(ITEMS, BOTH), ITEMS)
    assert {name.split("/")[0] for name in keyed(ITEMS).features} == {"item"}
    assert keyed(ITEMS).counted["events"] > 20


@pytest.mark.parametrize("name", [KINDS, OWNED])
def test_features_of_compound_entities_end_as_those_of_topics_that_are_keyed_by_them(
    name: str,
) -> None:
    same(undisturbed(name, BOTH), name)
    found = keyed(name)
    assert {one.split("/")[0] for one in found.features} == {ENTITIES[name].name}
    assert {one.rpartition("/")[2].count(":") for one in found.features} == {1}
    assert found.counted["events"] > 20
    assert (found.counted["forgotten"] > 0) == (name == OWNED)


@pytest.mark.repeats
@pytest.mark.parametrize("crashing", [REKEYER, SHARD, BOTH])
@pytest.mark.parametrize(("name", "step"), [("joined", 19), (ITEMS, 31), (KINDS, 61), (OWNED, 47)])
def test_a_crash_at_any_call_changes_nothing(name: str, step: int, crashing: str) -> None:
    """Before and after some of the calls; not all, for the sake of time."""
    again = 0
    for at in range(0, 2 * undisturbed(name, crashing).calls, step):
        end = ended(name, crashing, [at])
        same(end, name)
        again += end.copied - undisturbed(name, crashing).copied
    assert crashing == SHARD or again > 0, "some records are copied twice"


@pytest.mark.repeats
@settings(deadline=None, max_examples=10)
@given(
    st.sampled_from([*sorted(LABELS), ITEMS, KINDS, OWNED]),
    st.sampled_from([REKEYER, SHARD, BOTH]),
    st.lists(st.integers(0, 150), max_size=5),
)
def test_crashes_again_and_again_change_nothing(
    name: str, crashing: str, crash_at: list[int]
) -> None:
    same(ended(name, crashing, crash_at), name)
