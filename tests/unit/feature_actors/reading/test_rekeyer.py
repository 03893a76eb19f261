"""Records that lie in any partition are copied to where their entity belongs, and taken once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import ImpatientSource, wait_for
from small_shop import START_MS, event, events, spec

from freshrank.actors.alerts import Alerts
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.actors.protocols import Status
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.in_memory.log import (
    MemoryLog,
    MemorySource,
    consecutive_records,
)
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import (
    MemorySnapshots,
    MemoryStatusRegistry,
    MemoryStore,
)
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.shard.status import with_copies
from freshrank.feature_actors.streams.copies.origin import (
    NONE_BEFORE,
    generation_of,
    origins_of,
    packed,
)
from freshrank.feature_actors.streams.copies.origin_filter import Copied, OriginFilter
from freshrank.feature_actors.streams.stream import Entity

PARTITIONS = 3
ANYWHERE = replace(events, partitioner="any")
STATE, OTHER_STATE = "1f", "2e"
USERS = [f"u{number}" for number in range(7)]


class BreakingSink(MemorySink):
    """Loses some records of a call, and then says that the broker is away; refuses long ones."""

    losses: list[int]
    longest: int | None = None

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        lost = self.losses.pop(0) if self.losses else 0
        answers: list[BadRecord | None] = []
        for number, (key, value) in enumerate(records):
            if self.longest is not None and len(value) > self.longest:
                answers.append(BadRecord("too large"))
                continue
            answers.append(None)
            if not lost >> number & 1:
                self._append(topic, key, value)
        if lost:
            raise Unavailable("kafka", "away")
        return answers


class World:
    """A topic whose records lie anywhere, and its copies."""

    def __init__(self, losses: Sequence[int] = ()) -> None:
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(PARTITIONS)
        self.sink = BreakingSink(self.log, self.clock)
        self.sink.losses = list(losses)
        self.snapshots = MemorySnapshots()
        self.at_once = 1_000
        self.stream = ANYWHERE

    def rekeyer(
        self, owned: Sequence[int] = range(PARTITIONS), alerts: Alerts | None = None
    ) -> Rekeyer:
        async def nothing() -> None: ...

        connectors = Connectors(
            partitions=PARTITIONS,
            source=lambda: ImpatientSource(self.log, self.at_once),
            sink=self.sink,
            store=MemoryStore(),
            status_registry=MemoryStatusRegistry(self.clock),
            clock=self.clock,
            close=nothing,
        )
        return Rekeyer(self.stream, owned, STATE, connectors, self.snapshots, alerts)

    def write(self, count: int, seed: int = 0) -> None:
        """Write events of all users to partitions at random, and now and then no event."""
        rng = np.random.default_rng(seed)
        for number in range(count):
            who = USERS[int(rng.integers(len(USERS)))]
            value = b"{broken" if number % 11 == 5 else event(number, who, "view", 1, number)
            self.log.append(events.topic, int(rng.integers(PARTITIONS)), value, START_MS)

    def copies(self) -> list[RecordBatch]:
        """The records of each partition of the copies."""

        async def read() -> list[RecordBatch]:
            source = MemorySource(self.log)
            await source.start({(self.stream.log_topic, at): None for at in range(PARTITIONS)})
            return await source.poll(100_000, 0.0)

        return asyncio.run(read())

    def taken(self) -> list[tuple[int, bytes | None]]:
        """(partition, value) of all that counts, each as often as it is taken."""
        found: list[tuple[int, bytes | None]] = []
        for batch in self.copies():
            taken = take(OriginFilter(generation_of(STATE)), batch)
            assert taken.rejected == []
            found += [(batch.partition, value) for value in taken.batch.values]
        return found

    def written(self) -> list[tuple[int, bytes | None]]:
        """The same as the rule has it: where each record of the source topic belongs."""

        async def read() -> list[RecordBatch]:
            source = MemorySource(self.log)
            await source.start({(events.topic, at): None for at in range(PARTITIONS)})
            return await source.poll(100_000, 0.0)

        found: list[tuple[int, bytes | None]] = []
        for batch in asyncio.run(read()):
            for value in batch.values:
                assert value is not None
                who = next((one for one in USERS if f'"{one}"'.encode() in value), None)
                key = str(batch.partition) if who is None else who
                found.append((partition_of(key.encode(), PARTITIONS), value))
        return found


def take(origins: OriginFilter, batch: RecordBatch, begin: int = 0) -> Copied:
    """Take a batch after which the log goes on."""
    return origins.take(batch, begin, int(batch.offsets[-1]) + 1)


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(story(), 300))


async def copy_all(world: World, lives: Sequence[int] = ()) -> None:
    """Copy until nothing is left; each of `lives` is the steps until a crash."""
    for steps in (*lives, 1_000):
        rekeyer = world.rekeyer()
        await rekeyer.start()
        for number in range(steps):
            before = rekeyer.copied
            try:
                await rekeyer.step()
                if number % 2:
                    await rekeyer.save()
            except Unavailable:
                rekeyer = world.rekeyer()
                await rekeyer.start()
                continue
            world.clock.ms += 700
            if rekeyer.copied == before:
                break


def test_each_record_is_copied_to_where_its_entity_belongs() -> None:
    world = World()
    world.write(200)
    run(lambda: copy_all(world))
    assert sorted(world.taken()) == sorted(world.written())


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 2**40 - 1), max_size=6),
    st.lists(st.integers(0, 4), max_size=4),
    st.integers(0, 9),
)
def test_failures_and_crashes_lose_and_double_nothing(
    losses: list[int], lives: list[int], seed: int
) -> None:
    world = World(losses)
    world.write(60, seed)
    run(lambda: copy_all(world, lives))
    world.write(40, seed + 1)
    run(lambda: copy_all(world))
    assert sorted(world.taken()) == sorted(world.written())


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(0, 9))
def test_where_copies_are_declared_again_and_their_files_were_removed_each_record_counts_once(
    lives: list[int], seed: int
) -> None:
    """Copies that the topic still holds are made again, with those of records that came since."""
    world = World()
    world.write(60, seed)
    run(lambda: copy_all(world))
    first = len(world.taken())
    world.write(40, seed + 1)  # while nothing copies them
    world.snapshots = MemorySnapshots()
    run(lambda: copy_all(world, lives))
    world.write(20, seed + 2)
    run(lambda: copy_all(world))
    assert first < len(world.taken())
    assert sorted(world.taken()) == sorted(world.written())


def test_a_tombstone_is_copied_to_where_its_entity_belongs_and_to_no_other_entitys_topic() -> None:
    world, items = World(), World()
    items.stream = events.keyed_by(Entity("item", key="item"))
    for one in (world, items):
        for key in (b"u1", b"u2", None):
            one.log.append(events.topic, 2, None, START_MS, key)
        run(partial(copy_all, one))
    copied = list[bytes]()
    for batch in world.copies():
        found = take(OriginFilter(generation_of(STATE)), batch).batch
        assert found.values == [None] * len(found.keys)
        copied += [key for key in found.keys if key is not None]
        assert {partition_of(key, PARTITIONS) for key in copied[-1:]} <= {batch.partition}
    assert sorted(copied) == [b"u1", b"u2"]
    ((topic, dead),) = world.sink.rejected
    assert (topic, dead.offset) == (f"{events.topic}.dead", 2)
    assert dead.reason.startswith("it has no key")
    assert items.copies() == [] and items.sink.rejected == []


@pytest.mark.parametrize("partitioner", ["murmur2", "crc32", "any"])
@pytest.mark.parametrize("losses", [[], [0b10, 0b1]])
def test_events_that_lie_in_a_wrong_partition_are_copied_to_no_other_entitys_topic(
    partitioner: str, losses: list[int]
) -> None:
    world = World(losses)
    world.stream = replace(events, partitioner=partitioner).keyed_by(Entity("item", key="item"))
    expected = []
    for number, who in enumerate(USERS * 6):
        place, value = number % PARTITIONS, event(number, who, "view", number % 5, number)
        world.log.append(events.topic, place, value, START_MS)
        own = None if partitioner == "any" else Partitioner(partitioner)
        if own is None or place == partition_of(who.encode(), PARTITIONS, own):
            expected.append((partition_of(str(number % 5).encode(), PARTITIONS), value))
    run(lambda: copy_all(world, [1]))
    assert sorted(world.taken()) == sorted(expected)
    assert len(expected) == 42 if partitioner == "any" else 0 < len(expected) < 42
    assert world.sink.rejected == []


def test_copies_lie_in_the_order_in_which_their_records_reached_the_log() -> None:
    world = World()
    random = np.random.default_rng(3)
    for second in range(300):
        for _ in range(int(random.integers(4))):
            value = event(second, USERS[int(random.integers(7))], "view", 1, 0)
            stamp_ms = START_MS + 1_000 * second
            world.log.append(events.topic, int(random.integers(PARTITIONS)), value, stamp_ms)
    world.at_once = 7
    run(lambda: copy_all(world))
    for batch in world.copies():
        stamps = take(OriginFilter(generation_of(STATE)), batch).batch.timestamps_ms
        assert len(stamps) > 50 and (np.diff(stamps) >= 0).all()


NOTHING_WRONG: Status = {"health": {}, "not_ready": {}, "catching_up": None, "lag_total": 2}


def test_records_that_are_not_copied_wait_for_the_shard() -> None:
    world = World()

    async def story() -> None:
        world.write(20)
        rekeyer = world.rekeyer()
        await rekeyer.start()
        before = with_copies(NOTHING_WRONG, [rekeyer])
        assert before["catching_up"] == {"done": 0, "of": 20}
        await rekeyer.step()
        world.write(5, 1)
        world.clock.ms += 2_000
        await rekeyer.save()
        world.sink.losses = [0b1]
        with pytest.raises(Unavailable):
            await rekeyer.step()
        assert with_copies(NOTHING_WRONG, [rekeyer])["copied"] == 20
        await rekeyer.start()
        await rekeyer.step()
        after = with_copies(NOTHING_WRONG, [rekeyer])
        assert (after["catching_up"], after["lag_total"], after["copied"]) == (None, 2, 25)
        assert (after["health"], after["not_ready"]) == ({}, {})

    run(story)


def test_a_running_rekeyer_copies_on_while_its_files_are_written() -> None:
    class Stuck(MemorySnapshots):
        begun, goes_on = threading.Event(), threading.Event()

        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            self.begun.set()
            assert self.goes_on.wait(300)
            return super().save(name, pieces)

    world = World()
    world.snapshots = snapshots = Stuck()

    async def story() -> None:
        world.write(20)
        rekeyer = world.rekeyer()
        running = asyncio.create_task(rekeyer.run())
        await asyncio.to_thread(snapshots.begun.wait, 300)
        world.write(20, 1)
        await wait_for(lambda: rekeyer.copied == 40)
        snapshots.goes_on.set()
        names = [f"{events.topic}-{partition}" for partition in range(PARTITIONS)]
        await wait_for(lambda: all(map(snapshots.candidates, names)))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(story)


def test_a_defect_of_writing_the_files_ends_the_rekeyer() -> None:
    class Broken(MemorySnapshots):
        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            raise ValueError("planted")

    world = World()
    world.snapshots = Broken()
    world.write(20)
    with pytest.raises(ValueError, match="planted"):
        run(world.rekeyer().run)


def test_a_source_topic_that_is_created_again_is_copied_no_more_and_told() -> None:
    world = World()

    async def story() -> None:
        world.write(20)
        rekeyer = world.rekeyer()
        await rekeyer.start()
        await rekeyer.step()
        world.log.create_again(events.topic)
        world.write(20)
        await rekeyer.start()  # as after an outage of the broker
        await rekeyer.step()
        assert rekeyer.copied == 20
        told = with_copies(NOTHING_WRONG, [rekeyer])["not_ready"]
        assert isinstance(told, dict)
        assert "the topic was created again" in str(told[events.topic])

    run(story)


def test_a_topic_whose_beginning_was_deleted_before_the_first_copy_is_told_once() -> None:
    async def test() -> None:
        world = World()
        world.write(60)
        world.log.delete(events.topic, 1, before=3)
        alerts = Alerts("shard-0", world.clock)
        rekeyer = world.rekeyer(alerts=alerts)
        await rekeyer.start()
        while await rekeyer.unread():
            await rekeyer.step()
        await rekeyer.save()
        assert alerts.status()["by_kind"] == {"begins_late": 1}
        assert "the oldest 3 record(s), in 1 partition(s)" in str(alerts.status()["newest"])
        assert rekeyer.health() == {}
        later = Alerts("shard-0", world.clock)
        await world.rekeyer(alerts=later).start()
        assert later.status()["by_kind"] == {}

    asyncio.run(test())


def test_two_that_copy_the_same_partitions_double_nothing() -> None:
    world = World()

    async def story() -> None:
        first, second = world.rekeyer(), world.rekeyer()
        world.write(50)
        await first.start()
        await first.step()
        await second.start()
        world.write(50, 1)
        for rekeyer in (second, first, second):
            await rekeyer.step()

    run(story)
    assert sorted(world.taken()) == sorted(world.written())


def test_shards_share_the_source_partitions() -> None:
    world = World()
    world.write(100)

    async def story() -> None:
        for owned in ([0], [1, 2]):
            rekeyer = world.rekeyer(owned)
            await rekeyer.start()
            await rekeyer.step()

    run(story)
    assert [len(batch.values) for batch in world.copies()] == [2] * PARTITIONS, "one of each shard"
    assert sorted(world.taken()) == sorted(world.written())


def test_a_record_that_the_copies_topic_does_not_take_is_a_dead_letter_and_the_others_go_on() -> (
    None
):
    world = World()
    world.log.append(events.topic, 0, event(1, "u1", "view", 1, 0), START_MS)
    world.log.append(events.topic, 0, event(2, "u1", "view", 1, 0) + b" " * 500, START_MS)
    world.log.append(events.topic, 0, event(3, "u1", "view", 1, 0), START_MS)
    world.sink.longest = 400
    run(lambda: copy_all(world))
    assert len(world.taken()) == 2
    ((topic, letter),) = world.sink.rejected
    assert (topic, letter.offset, letter.reason) == ("events.dead", 1, "too large")


def test_an_entity_with_many_events_costs_a_record_for_each_batch() -> None:
    world = World()
    for number in range(500):
        value = event(number, "u1", "view", 1, number)
        world.log.append(events.topic, number % PARTITIONS, value, START_MS)
    run(lambda: copy_all(world))
    (batch,) = world.copies()
    assert len(batch.values) == 1
    assert sorted(world.taken()) == sorted(world.written())


def test_a_topic_that_takes_no_large_records_gets_smaller_ones() -> None:
    world = World()
    world.write(200)
    world.sink.longest = 1_000
    run(lambda: copy_all(world))
    assert sorted(world.taken()) == sorted(world.written())
    assert world.sink.rejected == []
    sizes = [len(value or b"") for batch in world.copies() for value in batch.values]
    assert 10 < len(sizes) < 100 and max(sizes) <= 1_000


def test_copies_of_the_version_before_and_packs_are_taken_in_turn_wherever_batches_end() -> None:
    world = World()
    world.write(90)
    before = [copy_of(9, at, at - 1, b"%d" % at) for at in range(3)]
    for partition in range(PARTITIONS):
        for value in before:
            world.log.append(ANYWHERE.log_topic, partition, value, START_MS, b"k")
    run(lambda: copy_all(world))
    for copies in world.copies():
        values = [*copies.values, *before]
        count = len(values)
        batch = consecutive_records(copies.topic, copies.partition, values, START_MS)
        whole, parts = OriginFilter(generation_of(STATE)), OriginFilter(generation_of(STATE))
        at_once = take(whole, batch)
        found = [take(parts, batch.between(at, at + 1), at) for at in range(count)]
        numbers = np.concatenate([one.batch.offsets for one in found])
        assert numbers.tolist() == at_once.batch.offsets.tolist()
        assert numbers[:4].tolist() == [0, 1, 2, 3] and (np.diff(numbers) > 0).all()
        assert [value for one in found for value in one.batch.values] == at_once.batch.values
        assert at_once.repeated == 3 and sum(one.repeated for one in found) == 3
        assert found[-1].end == at_once.end == len(numbers) > count
        arrays = [one.arrays() for one in (whole, parts)]
        assert {name: array.tolist() for name, array in arrays[0].items()} == {
            name: array.tolist() for name, array in arrays[1].items()
        }


def test_a_state_of_the_version_before_goes_on() -> None:
    origins, again = OriginFilter(generation_of(STATE)), OriginFilter(generation_of(STATE))
    take(origins, copies_of((0, 2, NONE_BEFORE), (0, 5, 2)))
    arrays = origins.arrays()
    del arrays["next"]
    again.load(arrays)
    found = take(again, copies_of((0, 5, 2), (0, 9, 5), begin=2), 2)
    assert (found.batch.values, found.batch.offsets.tolist()) == ([b"9"], [3])


def test_the_state_is_that_of_a_topic_that_is_keyed_by_the_entity() -> None:
    world = World(losses=[0b1011, 0, 0b100])
    world.write(300)
    run(lambda: copy_all(world, [1, 2]))
    made = spec()
    counts = {"events": 0, "dead": 0}
    rows: dict[str, bytes] = {}
    for batch in world.copies():
        state = PartitionState(made, batch.partition, PARTITIONS)
        taken = take(OriginFilter(generation_of(STATE)), batch).batch
        state.process(replace(taken, topic=events.topic))
        counts["events"] += state.counters.events
        counts["dead"] += state.counters.dead
        table = state.tables[0]
        for name in table.entities(table.slots()):
            row = table.row(name)
            assert row is not None and name not in rows
            rows[name] = row.tobytes()
    assert counts == {"events": 300 - 27, "dead": 27}
    assert set(rows) == set(USERS)


def copy_of(partition: int, at: int, before: int, value: bytes | None, state: str = STATE) -> bytes:
    """The record of one copy of a record whose producer stamped it."""
    stamp, stamped = np.array([START_MS]), np.zeros(1, dtype=np.bool_)
    batch = RecordBatch(events.topic, partition, [value], np.array([at]), stamp, stamped)
    origins = origins_of(batch, np.arange(1), np.array([before]), generation_of(state))
    return packed(origins, [value])


def copies_of(*origins: tuple[int, int, int], state: str = STATE, begin: int = 0) -> RecordBatch:
    """Copies of these (partition, offset, previous), whose values are the offsets as text."""
    values: list[bytes | None] = [
        copy_of(part, at, before, b"%d" % at, state) for part, at, before in origins
    ]
    count = len(values)
    return RecordBatch(
        ANYWHERE.log_topic,
        0,
        values,
        np.arange(begin, begin + count),
        np.zeros(count, dtype=np.int64),
        np.ones(count, dtype=np.bool_),
    )


def test_a_copy_counts_when_the_one_before_it_has() -> None:
    origins = OriginFilter(generation_of(STATE))
    first = NONE_BEFORE
    batch = copies_of((0, 5, 2), (0, 2, first), (0, 5, 2), (0, 2, first), (1, 3, first), (0, 9, 5))
    taken = take(origins, batch)
    assert (taken.batch.values, taken.repeated) == ([b"2", b"5", b"3", b"9"], 2)
    again = OriginFilter(generation_of(STATE))
    again.load(origins.arrays())
    assert take(again, copies_of((0, 9, 5), (0, 12, 9), begin=6), 6).batch.values == [b"12"]


def test_where_copies_were_deleted_unread_those_that_are_left_count() -> None:
    origins = OriginFilter(generation_of(STATE))
    take(origins, copies_of((0, 1, NONE_BEFORE), (1, 1, NONE_BEFORE)))
    left = copies_of((0, 7, 6), (0, 9, 8), (0, 7, 6), (2, 5, 4), begin=40)
    taken = take(origins, left, 2)
    assert taken.batch.values == [b"7", b"5"], "9 comes before 8"
    assert take(origins, copies_of((0, 8, 7), (1, 4, 3), begin=44), 44).batch.values == [b"8", b"4"]


def test_a_gap_without_records_after_it_counts_too() -> None:
    origins = OriginFilter(generation_of(STATE))
    take(origins, copies_of((0, 1, NONE_BEFORE)))
    none = copies_of()
    assert origins.take(none, 1, 30).batch.values == []
    again = OriginFilter(generation_of(STATE))
    again.load(origins.arrays())
    assert take(again, copies_of((0, 7, 6), begin=30), 30).batch.values == [b"7"]


def test_a_state_that_begins_anew_leaves_out_the_copies_of_before() -> None:
    origins = OriginFilter(generation_of(STATE))
    before = copies_of((0, 1, NONE_BEFORE), (0, 4, 1), state=OTHER_STATE)
    assert take(origins, before).batch.values == []
    assert take(origins, copies_of((0, 2, NONE_BEFORE), begin=2), 2).batch.values == [b"2"]


def test_a_copy_has_the_time_at_which_its_record_reached_the_source_topic() -> None:
    world = World()
    world.log.append(events.topic, 1, event(1, "u1", "view", 1, 0), START_MS)
    world.clock.ms += 3_600_000
    run(lambda: copy_all(world))
    (batch,) = [batch for batch in world.copies() if batch.values]
    taken = take(OriginFilter(generation_of(STATE)), batch)
    assert taken.batch.timestamps_ms.tolist() == [START_MS]
    assert (taken.partitions.tolist(), taken.offsets.tolist()) == ([1], [0])


PACK = packed(
    origins_of(copies_of((0, 1, 0), (0, 2, 1)), np.arange(2), np.array([-1, 0]), 1), [b"a", b"bc"]
)


@pytest.mark.parametrize(
    "value",
    [
        *(None, b"", b'{"user_id": "u1"}' * 3, b"\x01" * 37),
        *(PACK[:4], PACK[:40], PACK[:-1], PACK + b"d", b"\4\0\0\0\2" + b"\1" * 82),
        PACK.replace(b"\0\0\0\2", b"\0\0\0\0", 1),
    ],
)
def test_a_record_without_an_origin_is_rejected(value: bytes | None) -> None:
    batch = replace(copies_of((0, 1, 0)), values=[value])
    taken = take(OriginFilter(generation_of(STATE)), batch)
    assert taken.batch.values == [] and len(taken.rejected) == 1
    assert "only Freshrank writes here" in taken.rejected[0].reason


def test_a_tombstone_stays_one() -> None:
    batch = replace(copies_of((0, 1, 0)), values=[copy_of(0, 1, NONE_BEFORE, None)])
    taken = take(OriginFilter(generation_of(STATE)), batch).batch
    assert taken.values == [None] and taken.stamped_by_broker.tolist() == [False]
