"""Rejected records and snapshots, and how they wait for each other."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import FussySink, StrictStore
from small_shop import START_MS, batch, event, packed, spec

from freshrank.actors.errors import SnapshotError
from freshrank.actors.records import RejectedRecord
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.partition.outcome import Outcome
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.dead_letters import MOST_WAITING, DeadLetterQueue
from freshrank.feature_actors.shard.online_writer import OnlineWriter
from freshrank.feature_actors.shard.outputs import ShardOutputs
from freshrank.feature_actors.shard.snapshotter import Snapshotter
from freshrank.feature_actors.state.dirty_rows import DirtySlots

MADE = spec(None)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 300))


def dead(offset: int) -> Outcome:
    return Outcome(dead=[RejectedRecord("events", 0, offset, "broken", b"{")])


def sink() -> FussySink:
    return FussySink(MemoryLog(1), FakeClock(START_MS))


def test_rejected_records_wait_while_the_broker_is_away_and_keep_their_order() -> None:
    async def test() -> None:
        to = sink()
        dead_letters = DeadLetterQueue(to)
        to.away = True
        for offset in range(3):
            dead_letters.add(dead(offset))
        assert not await dead_letters.settle()
        assert "away" in str(dead_letters.error)
        to.away = False
        dead_letters.add(Outcome(late=[RejectedRecord("events", 0, 9, "late", b"{}")]))
        assert await dead_letters.settle()
        assert dead_letters.error is None
        told = [(topic, one.offset) for topic, one in to.rejected]
        assert told == [*(("events.dead", n) for n in range(3)), ("events.late", 9)]
        assert await dead_letters.settle()
        assert len(to.rejected) == 4

    run(test)


def test_records_added_while_others_are_written_are_not_lost() -> None:
    class Slow(FussySink):
        async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
            await asyncio.sleep(0)
            await super().reject(suffix, records)

    async def test() -> None:
        to = Slow(MemoryLog(1), FakeClock(START_MS))
        dead_letters = DeadLetterQueue(to)
        dead_letters.add(dead(0))
        dead_letters.flush_in_background()
        dead_letters.flush_in_background()
        dead_letters.add(dead(1))
        await asyncio.sleep(0)
        dead_letters.add(dead(2))
        assert await dead_letters.settle()
        assert [one.offset for _, one in to.rejected] == [0, 1, 2]

    run(test)


def test_too_many_rejected_records_are_a_reason_to_wait() -> None:
    dead_letters = DeadLetterQueue(sink())
    dead_letters.add(Outcome(dead=dead(0).dead * (MOST_WAITING - 1)))
    assert not dead_letters.full
    dead_letters.add(dead(1))
    assert dead_letters.full


class Scene:
    def __init__(self, partitions: int = 2) -> None:
        self.clock = FakeClock(START_MS)
        self.states = {one: PartitionState(MADE, one) for one in range(partitions)}
        self.snapshots = MemorySnapshots()
        self.snapshotter = Snapshotter(
            self.states, self.snapshots, self.clock, 10.0, threaded=False
        )

    def see(self, partition: int, offset: int) -> None:
        value = event(offset, "u1", "view", 7, 1_000 + offset)
        self.states[partition].process(batch("events", [value], offset, partition=partition))

    async def save_due(self) -> list[int]:
        saved = []
        while (partition := self.snapshotter.due()) is not None:
            await self.snapshotter.begin(partition, {})
            saved.append(partition)
        return saved


def test_snapshots_of_the_partitions_are_spread_over_the_interval() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see(0, 0)
        scene.see(1, 0)
        assert await scene.save_due() == []
        assert scene.snapshotter.age_s() is None
        scene.clock.ms += 5_000
        assert await scene.save_due() == [0]
        scene.clock.ms += 5_000
        assert await scene.save_due() == [1]
        assert scene.snapshotter.age_s() == 5.0
        assert scene.snapshotter.size() > 0

    run(test)


def test_a_state_that_read_nothing_is_not_written_again() -> None:
    async def test() -> None:
        scene = Scene(partitions=1)
        scene.see(0, 0)
        for _ in range(3):
            scene.clock.ms += 10_000
            assert await scene.save_due() == [0]
        assert len(scene.snapshots.candidates("partition-0")) == 1
        scene.see(0, 1)
        scene.clock.ms += 10_000
        await scene.save_due()
        assert len(scene.snapshots.candidates("partition-0")) == 2

    run(test)


def test_files_are_written_without_records_until_none_has_who_was_forgotten(
    tmp_path: Path,
) -> None:
    def files() -> int:
        return sum(b"u1" in path.read_bytes() for path in tmp_path.iterdir())

    def names() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir())

    async def test() -> None:
        scene, store = Scene(partitions=1), FileSnapshots(tmp_path)
        scene.snapshotter = Snapshotter(scene.states, store, scene.clock, 10.0, threaded=False)

        async def save(times: int) -> None:
            for _ in range(times):
                scene.clock.ms += 10_000
                await scene.save_due()

        for offset in range(3):
            scene.see(0, offset)
            await save(1)
        assert files() == 3
        (table,) = scene.states[0].tables
        scene.states[0].process(replace(batch("events", [None], 3), keys=[b"u1"]))
        await save(4)
        assert files() == 3, "its row is to be removed from the online store"
        table.evicted.clear()
        await save(3)
        assert files() == 0
        before = names()
        await save(3)
        assert names() == before

    run(test)


def test_a_disk_that_fails_is_shown_and_tried_again() -> None:
    class Full(MemorySnapshots):
        full = True

        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            if self.full:
                raise SnapshotError("no space left")
            return super().save(name, pieces)

    async def test() -> None:
        scene, disk = Scene(partitions=1), Full()
        scene.snapshotter = Snapshotter(scene.states, disk, scene.clock, 10.0, threaded=True)
        scene.see(0, 0)
        scene.clock.ms += 10_000
        await scene.snapshotter.save_all()
        assert "no space left" in str(scene.snapshotter.error)
        disk.full = False
        await scene.snapshotter.save_all()
        assert scene.snapshotter.error is None
        assert len(disk.candidates("partition-0")) == 1

    run(test)


def test_a_partition_that_cannot_be_written_is_shown_though_others_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class NearlyFull(MemorySnapshots):
        too_large: str | None = "partition-0"

        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            if name == self.too_large:
                raise SnapshotError("no space left")
            return super().save(name, pieces)

    async def test() -> None:
        scene, disk = Scene(partitions=2), NearlyFull()
        scene.snapshotter = Snapshotter(scene.states, disk, scene.clock, 10.0, threaded=True)
        for _ in range(2):
            await scene.snapshotter.save_all()
            assert scene.snapshotter.error == "no space left"
        disk.too_large = None
        await scene.snapshotter.save_all()
        assert scene.snapshotter.error is None

    run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "shard: not_saved: no space left; the older ones stay, and it is tried again",
        "snapshots can be written again",
    ]


def test_a_snapshot_is_written_beside_the_next_batches_and_is_of_its_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "freshrank.feature_actors.shard.snapshotter.SLICE_BYTES", 1
    )  # a row at a time

    async def test() -> None:
        scene = Scene(partitions=1)
        scene.snapshotter = Snapshotter(
            scene.states, scene.snapshots, scene.clock, 10.0, threaded=True
        )
        for offset in range(20):
            value = event(offset, f"u{offset}", "view", 7, 1_000)
            scene.states[0].process(batch("events", [value], offset))
        expected = packed(scene.states[0])
        scene.clock.ms += 10_000
        assert await scene.save_due() == [0]
        for offset in range(20, 30):
            scene.see(0, offset)
            assert scene.snapshotter.due() is None
            await asyncio.sleep(0)
        assert scene.snapshots.candidates("partition-0") == []
        await scene.snapshotter.settle()
        (kept,) = scene.snapshots.candidates("partition-0")
        assert kept.read() == expected
        assert scene.snapshotter.size() == len(expected)
        scene.clock.ms += 10_000
        assert await scene.save_due() == [0]  # for the ten events that it has not got
        await scene.snapshotter.settle()
        assert len(scene.snapshots.candidates("partition-0")) == 2

    run(test)


def test_no_snapshot_is_begun_before_the_rejected_records_are_safe() -> None:
    async def test() -> None:
        scene, to = Scene(partitions=1), sink()
        dead_letters = DeadLetterQueue(to)
        writer = OnlineWriter(scene.states, StrictStore(), 1, scene.clock)
        out = ShardOutputs(writer, None, dead_letters, scene.snapshotter)
        scene.see(0, 0)
        dead_letters.add(dead(1))
        to.away = True
        scene.clock.ms += 10_000
        await out.save_when_due()
        assert scene.snapshots.candidates("partition-0") == []
        assert "rejects" in out.errors()
        to.away = False
        await out.save_when_due()
        assert len(scene.snapshots.candidates("partition-0")) == 1
        assert out.errors() == {}

    run(test)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 3_000), max_size=20) | st.integers(1, 9), max_size=20))
def test_dirty_slots_are_an_ordered_set(moves: list[list[int] | int]) -> None:
    dirty, wanted = DirtySlots(), dict[int, None]()
    for move in moves:
        if isinstance(move, int):
            taken = dirty.take(move).tolist()
            assert taken == list(wanted)[:move]
            for slot in taken:
                del wanted[slot]
        else:
            dirty.mark(np.array(move, dtype=np.int64))
            wanted.update(dict.fromkeys(move))
        assert dirty.peek().tolist() == list(wanted)
        assert len(dirty) == len(wanted)


def test_a_failure_in_the_background_is_raised_by_the_check() -> None:
    async def test() -> None:
        scene, store = Scene(partitions=1), StrictStore()
        await store.claim(0, 9)
        writer = OnlineWriter(scene.states, store, 1, scene.clock)
        out = ShardOutputs(writer, None, DeadLetterQueue(sink()), scene.snapshotter)
        out.begin()
        out.check()
        out.wake()
        for _ in range(5):
            await asyncio.sleep(0)
        with pytest.raises(Exception, match="claimed by epoch 9"):
            out.check()
        await out.end()

    run(test)
