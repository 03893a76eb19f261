import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import pytest
from fake_clock import FakeClock
from shard_world import StrictStore, wait_for
from small_shop import START_MS, batch, event, spec

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import ProgressError, StoreFull, Unavailable
from freshrank.actors.messages import SourceOffsets
from freshrank.actors.protocols import WriteOutcome
from freshrank.benchmarks.crashes.recorded_stream import users_of
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard import online_writer
from freshrank.feature_actors.shard.online_writer import OnlineWriter
from freshrank.feature_actors.shard.partition_writer import MOST_ROWS

MADE = spec(max_entities=10_000)
TABLE = MADE.plan.tables[0]


class Scene:
    """One partition and its writer."""

    def __init__(self, store: StrictStore | None = None, epoch: int = 5) -> None:
        self.state = PartitionState(MADE, 0)
        self.store = store or StrictStore()
        self.clock = FakeClock(START_MS + 60_000)
        self.alerts = Alerts("shard-0", self.clock)
        self.writer = OnlineWriter(
            {0: self.state}, self.store, epoch, self.clock, alerts=self.alerts
        )
        self._numbers = 0

    def see(self, *users: str, at_ms: int = 1_000) -> None:
        values = [event(self._numbers + n, who, "view", 7, at_ms) for n, who in enumerate(users)]
        self.state.process(batch("events", values, begin=self._numbers))
        self._numbers += len(users)

    def stored(self, who: str) -> bytes | None:
        return self.store.rows.get(TABLE.row_key(who))

    def row(self, who: str) -> bytes:
        row = self.state.tables[0].row(who)
        assert row is not None
        return row.tobytes()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 300))


def test_a_flush_writes_what_changed_and_nothing_else() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", "u2", "u1")
        await scene.writer.flush()
        assert scene.writer.rows_written == 2
        assert scene.stored("u1") == scene.row("u1")
        scene.see("u2")
        await scene.writer.flush()
        assert (scene.writer.rows_written, scene.writer.waiting) == (3, 0)
        assert scene.stored("u2") == scene.row("u2")

    run(test)


def test_more_rows_than_go_at_once_are_all_written() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see(*(f"u{n}" for n in range(MOST_ROWS + 7)))
        await scene.writer.flush()
        assert len(scene.store.rows) == MOST_ROWS + 7
        assert all(scene.stored(f"u{n}") == scene.row(f"u{n}") for n in (0, MOST_ROWS + 6))

    run(test)


class InTurn(StrictStore):
    """Answers a write to the first partition when one to the second has begun, or a while later."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.second = asyncio.Event()

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        self.begun.append(partition)
        if partition == 1:
            self.second.set()
        for _ in range(20):
            await asyncio.sleep(0)
        if partition == 0 and self.second.is_set():
            raise Unavailable("redis", "away")
        return await super().write(partition, epoch, reached, keys, rows)


def of_two_partitions(store: StrictStore) -> OnlineWriter:
    """A writer of a row of each."""
    states = {partition: PartitionState(MADE, partition, 2) for partition in range(2)}
    for partition, state in states.items():
        (who,) = users_of(partition, 2, 1)
        state.process(batch("events", [event(0, who, "view", 7, 0)], partition=partition))
    return OnlineWriter(states, store, 5, FakeClock(START_MS))


async def run_until(writer: OnlineWriter, condition: Callable[[], bool]) -> None:
    """Let its loop go on, which was woken once, until then."""
    running = asyncio.create_task(writer.run())
    writer.wake()
    await wait_for(condition)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_few_rows_of_all_partitions_go_at_once_and_a_failure_holds_up_no_other() -> None:
    async def test() -> None:
        store = InTurn()
        writer = of_two_partitions(store)
        await run_until(writer, lambda: writer.error is not None)
        assert store.begun[:2] == [0, 1]
        assert (len(store.rows), writer.waiting) == (1, 1)

    run(test)


def test_many_rows_go_one_partition_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(online_writer, "FEW_ROWS", 1)

    async def test() -> None:
        store = InTurn()
        writer = of_two_partitions(store)
        await run_until(writer, lambda: not writer.waiting)
        assert (store.begun, len(store.rows), writer.error) == ([0, 1], 2, None)

    run(test)


def test_rows_stay_dirty_while_the_store_is_away() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1")
        scene.store.away = True
        with pytest.raises(Unavailable):
            await scene.writer.flush()
        scene.store.away = False
        await scene.writer.flush()
        scene.see("u1")
        scene.store.away = True
        with pytest.raises(Unavailable):
            await scene.writer.flush()
        assert scene.writer.waiting == 1
        scene.store.away = False
        await scene.writer.flush()
        assert scene.stored("u1") == scene.row("u1")

    run(test)


def test_a_replay_is_silent_up_to_what_the_store_was_told_last() -> None:
    async def test() -> None:
        before = Scene()
        before.see("u1", "u2", "u1", at_ms=5_000)
        await before.writer.flush()
        again = Scene(before.store, epoch=6)
        again.see("u1", at_ms=5_000)
        await again.writer.flush()
        assert again.writer.catching_up == [0]
        assert again.stored("u1") == before.row("u1")
        again.see("u2", "u1", at_ms=5_000)
        await again.writer.flush()
        assert again.writer.catching_up == []
        assert again.writer.rows_written == 2

    run(test)


def test_no_replay_waits_for_a_topic_that_is_no_longer_read() -> None:
    async def test() -> None:
        before = Scene()
        before.see("u1")
        await before.writer.flush()
        reached = SourceOffsets({"events": 1, "visits": 7})
        await before.store.write(0, 5, reached, [b"another table"], b"")
        again = Scene(before.store, epoch=6)
        again.see("u1", "u2")
        await again.writer.flush()
        assert again.writer.catching_up == []
        assert again.stored("u2") == again.row("u2")

    run(test)


def test_a_store_that_forgot_is_given_every_row() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", "u2")
        await scene.writer.flush()
        scene.store.forget()
        scene.see("u1")
        await scene.writer.flush()  # learns that it was forgotten
        await scene.writer.flush()
        assert scene.stored("u1") == scene.row("u1")
        assert scene.stored("u2") == scene.row("u2")

    run(test)


class EmptiedStore(StrictStore):
    """Is emptied after the next write when `emptied` is set, and then calls it."""

    emptied: Callable[[], Awaitable[None]] | None = None

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        outcome = await super().write(partition, epoch, reached, keys, rows)
        emptied, self.emptied = self.emptied, None
        if emptied is not None:
            self.forget()
            await emptied()
        return outcome


def test_the_store_is_told_when_it_has_every_row_and_again_after_it_was_emptied() -> None:
    async def test() -> None:
        store = EmptiedStore()
        scene = Scene(store)

        async def filled() -> int:
            return (await store.read([])).filled

        await scene.writer.flush()
        assert await filled() == 1, "a partition without rows has them all there"
        scene.see(*(f"u{n}" for n in range(MOST_ROWS + 7)))
        store.forget()
        await scene.writer.confirm()
        assert await filled() == 0
        store.emptied = scene.writer.confirm
        await scene.writer.flush()
        assert len(store.rows) < MOST_ROWS + 7
        assert await filled() == 0, "it was emptied while it was filled"
        await scene.writer.flush()
        assert await filled() == 1
        assert len(store.rows) == MOST_ROWS + 7

    run(test)


def test_a_writer_with_a_newer_owner_stops_and_says_so() -> None:
    async def test() -> None:
        scene = Scene(epoch=5)
        scene.see("u1")
        await scene.writer.flush()
        await scene.store.claim(0, 6)
        scene.see("u1")
        scene.writer.wake()
        with pytest.raises(ProgressError, match="newer owner than epoch 5"):
            await scene.writer.run()
        again = Scene(scene.store, epoch=5)
        again.writer.wake()
        with pytest.raises(ProgressError, match="claimed by epoch 6"):
            await again.writer.run()

    run(test)


def test_evicted_entities_are_removed_unless_they_came_back() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", "u2")
        await scene.writer.flush()
        scene.state.tables[0].evicted = ["gone", "u2"]
        scene.store.rows[TABLE.row_key("gone")] = b"old"
        await scene.writer.flush()
        assert scene.stored("gone") is None
        assert scene.stored("u2") == scene.row("u2")
        assert scene.state.tables[0].evicted == []

    run(test)


def test_who_is_dropped_is_removed_also_by_a_store_that_has_lost_the_claim_alone() -> None:
    class Forgetful(StrictStore):
        """The claim has expired, which is before the rows do."""

        lost = False

        async def remove(self, partition: int, epoch: int, keys: Sequence[bytes]) -> WriteOutcome:
            if self.lost:
                self.lost = False
                return WriteOutcome.LOST
            return await super().remove(partition, epoch, keys)

    async def test() -> None:
        store = Forgetful()
        scene = Scene(store)
        scene.see("u1", "u2")
        await scene.writer.flush()
        scene.state.tables[0].delete(["u1"])
        store.lost = True
        await scene.writer.flush()
        assert scene.stored("u1") is not None
        await scene.writer.flush()
        assert (scene.stored("u1"), scene.state.tables[0].evicted) == (None, [])
        assert scene.stored("u2") == scene.row("u2")

    run(test)


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_write_that_arrives_after_its_deadline_brings_nothing_back(comes_back: bool) -> None:
    class Slow(StrictStore):
        """A write is not answered in time; the test lets it arrive."""

        late: Callable[[], Awaitable[WriteOutcome]] | None = None
        slow = False

        async def write(
            self,
            partition: int,
            epoch: int,
            reached: SourceOffsets,
            keys: Sequence[bytes],
            rows: bytes | memoryview,
        ) -> WriteOutcome:
            given = partition, epoch, reached, list(keys), bytes(rows)
            if self.slow:
                self.slow, self.late = False, partial(super().write, *given)
                raise Unavailable("redis", "no answer")
            return await super().write(*given)

    async def test() -> None:
        store = Slow()
        scene = Scene(store)
        scene.see("u1")
        await scene.writer.flush()
        scene.see("u1", at_ms=2_000)
        store.slow = True
        with pytest.raises(Unavailable):
            await scene.writer.flush()
        scene.state.tables[0].delete(["u1"])
        if comes_back:
            scene.see("u1", at_ms=3_000)
        await scene.writer.flush()
        assert store.late is not None
        assert await store.late() is WriteOutcome.FENCED
        assert scene.stored("u1") == (scene.row("u1") if comes_back else None)
        assert (scene.writer.waiting, scene.writer.catching_up) == (0, [])

    run(test)


def test_a_claim_that_was_under_way_when_a_write_failed_is_not_taken_for_the_next_epochs() -> None:
    class Hanging(StrictStore):
        """A claim is answered when the test says so."""

        answer: asyncio.Event | None = None

        async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
            held = await super().claim(partition, epoch)
            if self.answer is not None:
                await self.answer.wait()
            return held

    async def test() -> None:
        store = Hanging()
        scene = Scene(store)
        scene.see("u1")
        await scene.writer.flush()
        store.answer = asyncio.Event()
        confirming = asyncio.ensure_future(scene.writer.confirm())
        await asyncio.sleep(0)
        scene.see("u1", at_ms=2_000)
        store.away = True
        with pytest.raises(Unavailable):
            await scene.writer.flush()
        store.away = False
        store.answer.set()
        await confirming
        await scene.writer.flush()
        assert scene.stored("u1") == scene.row("u1")

    run(test)


def test_slots_that_changed_hands_get_the_keys_of_their_new_owners() -> None:
    async def test() -> None:
        made = spec(max_entities=2)
        scene = Scene()
        scene.state = PartitionState(made, 0)
        scene.writer = OnlineWriter({0: scene.state}, scene.store, 5, scene.clock)
        scene.see("a", "b", "c", at_ms=1_000)
        await scene.writer.flush()
        scene.see("d", "e", at_ms=2_000)
        await scene.writer.flush()
        names = scene.state.tables[0].entities(scene.state.tables[0].slots())
        assert {TABLE.row_key(name) for name in names} == set(scene.store.rows)
        assert all(scene.stored(name) == scene.row(name) for name in names)

    run(test)


def test_freshness_is_the_time_from_the_event_to_its_row() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", at_ms=59_900)
        await scene.writer.flush()
        histogram = scene.writer.freshness.at(scene.clock.monotonic())
        assert histogram.count == 1
        assert histogram.quantile(0.5) == pytest.approx(100, rel=0.03)

    run(test)


def test_rows_of_before_the_start_and_those_that_are_put_back_say_nothing_of_freshness() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", "u2", "u3", at_ms=30_000)
        writer = OnlineWriter({0: scene.state}, scene.store, 5, scene.clock)

        async def flushed() -> tuple[int, int]:
            await writer.flush()
            return writer.rows_written, writer.freshness.at(scene.clock.monotonic()).count

        assert await flushed() == (3, 0)
        scene.see("u1", at_ms=31_000)
        assert await flushed() == (4, 1)
        scene.store.rows.clear()
        await writer.sweep()
        assert await flushed() == (7, 1)
        scene.store.forget()
        await writer.confirm()
        assert await flushed() == (10, 1)
        scene.see("u2", at_ms=59_000)
        assert await flushed() == (11, 2)

    run(test)


def test_an_event_that_is_ahead_of_the_clock_hides_none_after_it() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1", at_ms=90_000)
        writer = OnlineWriter({0: scene.state}, scene.store, 5, scene.clock)
        scene.clock.advance(1.0)
        scene.see("u2", at_ms=60_500)
        await writer.flush()
        assert writer.freshness.at(scene.clock.monotonic()).count == 2

    run(test)


def test_the_loop_keeps_trying_and_shows_what_is_wrong() -> None:
    async def test() -> None:
        scene = Scene()
        scene.store.away = True
        loop = asyncio.create_task(scene.writer.run())
        scene.see("u1")
        scene.writer.wake()
        for _ in range(20):
            await asyncio.sleep(0)
        assert "redis" in str(scene.writer.error)
        scene.store.away = False
        for _ in range(20):
            await asyncio.sleep(0)
        assert scene.writer.error is None
        assert scene.stored("u1") == scene.row("u1")
        loop.cancel()

    run(test)


def test_rows_that_the_store_has_lost_are_put_back_by_a_sweep() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see(*(f"u{n}" for n in range(10)))
        await scene.writer.flush()
        for lost in ("u3", "u7"):
            del scene.store.rows[TABLE.row_key(lost)]
        for _ in range(4):
            await scene.writer.sweep(0.25)
        await scene.writer.flush()
        assert scene.stored("u3") == scene.row("u3")
        assert scene.stored("u7") == scene.row("u7")
        assert (scene.writer.rows_restored, scene.writer.rows_written) == (2, 12)

    run(test)


class DroppingStore(StrictStore):
    """Calls `meanwhile` before a refresh is answered."""

    meanwhile: Callable[[], object] | None = None

    async def refresh(self, partition: int, epoch: int, keys: Sequence[bytes]) -> list[int]:
        missing = await super().refresh(partition, epoch, keys)
        if self.meanwhile is not None:
            self.meanwhile()
        return missing


def test_a_sweep_does_not_write_what_waits_or_was_dropped_meanwhile() -> None:
    async def test() -> None:
        store = DroppingStore()
        scene = Scene(store)
        scene.see("u1", "u2")
        await scene.writer.flush()
        scene.see("u3")
        await scene.writer.sweep()
        assert scene.writer.rows_restored == 0, "u3 waits to be written, and is not missing"
        await scene.writer.flush()
        store.rows.clear()
        table = scene.state.tables[0]
        table.max_entities = 1
        store.meanwhile = lambda: table.evict(START_MS)
        await scene.writer.sweep()
        assert scene.writer.waiting == 0
        store.meanwhile = None
        await scene.writer.sweep()
        await scene.writer.flush()
        assert len(store.rows) == len(table) < 3

    run(test)


class FullStore(StrictStore):
    full = False

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        if self.full:
            raise StoreFull("redis", "its memory is full")
        return await super().write(partition, epoch, reached, keys, rows)


def test_a_store_without_memory_is_one_alert_and_gets_the_rows_when_there_is_some() -> None:
    async def test() -> None:
        store = FullStore()
        scene = Scene(store)
        store.full = True
        scene.see("u1")
        scene.writer.wake()
        loop = asyncio.create_task(scene.writer.run())
        for _ in range(50):
            await asyncio.sleep(0)
        assert "its memory is full" in str(scene.writer.error)
        assert scene.alerts.status()["by_kind"] == {"store_full": 1}
        store.full = False
        for _ in range(50):
            await asyncio.sleep(0)
        assert scene.writer.error is None
        assert scene.stored("u1") == scene.row("u1")
        loop.cancel()

    run(test)


def test_a_store_that_removes_rows_is_told_of_until_it_rests() -> None:
    async def test() -> None:
        scene = Scene()
        scene.see("u1")
        scene.store.evictions = 40
        await scene.writer.confirm()
        assert scene.writer.error is None, "what was removed before is of no matter"
        for more in (7, 0, 3):
            scene.store.evictions += more
            await scene.writer.confirm()
            assert "maxmemory-policy noeviction" in str(scene.writer.error)
        assert scene.alerts.status()["by_kind"] == {"store_full": 1}
        scene.clock.advance(31.0)
        await scene.writer.confirm()
        assert scene.writer.error is None

    run(test)
