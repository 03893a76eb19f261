"""A shard while something that it needs is away, full, damaged or taken by another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from shard_world import World, all_read, features, live, run, wait_for
from small_shop import LABELLED, START_MS, event, spec

from freshrank.actors.errors import PartFailed, ProgressError, SnapshotError, Unavailable
from freshrank.actors.records import RecordBatch
from freshrank.benchmarks.crashes.recorded_stream import users_of
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.partition import backpressure
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.lifecycle import ShardState
from freshrank.feature_actors.shard.outputs import ShardOutputs
from freshrank.feature_actors.shard.shard import Shard


async def wait_for_health(actor: FeatureShard, wanted: dict[str, str]) -> None:
    for _ in range(20_000):
        if (await actor.status())["health"] == wanted:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"not {wanted}")


class PausingSource(MemorySource):
    """Remembers what is paused."""

    def __init__(self, log: Any) -> None:
        super().__init__(log)
        self.paused: set[tuple[str, int]] = set()
        self.ever: set[tuple[str, int]] = set()

    def pause(self, topic: str, partition: int) -> None:
        super().pause(topic, partition)
        self.paused.add((topic, partition))
        self.ever.add((topic, partition))

    def resume(self, topic: str, partition: int) -> None:
        super().resume(topic, partition)
        self.paused.discard((topic, partition))


def test_a_full_outbox_pauses_reading_until_the_learner_is_back() -> None:
    async def test() -> None:
        world = World(spec(LABELLED), outbox_max_examples=20)
        world.fill(60)
        source = PausingSource(world.log)
        shard = world.shard(source=source)
        await shard.start()
        world.away("learner")
        for _ in range(50):
            await shard.step()
            world.clock.ms += 250
        assert source.paused == {("events", 0), ("events", 1)}
        assert all(20 <= state.example_queue.examples < 30 for state in shard.states.values())
        assert "learner" in str((await shard.status())["health"])
        world.away("")
        for _ in range(50):
            world.learner.checkpoint()
            await shard.step()
            world.clock.ms += 600
        assert source.paused == set()
        assert len(world.learner.examples()) == 120
        health = (await shard.status())["health"]
        assert isinstance(health, dict)
        assert set(health) == {"events.dead"}, "of the broken records"

    run(test)


def test_too_many_pending_items_pause_the_impressions_alone_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        ends = []
        for most in (backpressure.MAX_PENDING_ITEMS, 4):
            monkeypatch.setattr(backpressure, "MAX_PENDING_ITEMS", most)
            world = World(at_once=3)
            world.fill(60)
            for partition in range(2):  # after which every label is known
                last = event(9_000 + partition, users_of(partition, 2, 1)[0], "cart", 1, 200_000)
                world.log.append("events", partition, last, START_MS + 200_000)
            source = PausingSource(world.log)
            shard = world.shard(source=source)
            await shard.start()
            await world.until_read(shard)
            ends.append((world.learner.examples(), features(shard)))
        assert source.ever == {("shown", 0), ("shown", 1)}
        assert ends[0] == ends[1]

    run(test)


def test_too_many_label_events_let_the_events_wait_for_unread_impressions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        ends = []
        for most in (backpressure.MAX_LABEL_EVENTS, 2):
            monkeypatch.setattr(backpressure, "MAX_LABEL_EVENTS", most)
            world = World(at_once=3)
            world.fill(60)
            source = PausingSource(world.log)
            shard = world.shard(source=source)
            await shard.start()
            await world.until_read(shard)
            ends.append((world.learner.examples(), features(shard)))
        assert source.ever == {("events", 0), ("events", 1)}
        assert ends[0] == ends[1]

    run(test)


def test_a_store_that_is_emptied_gets_all_rows_again_without_any_event() -> None:
    async def test() -> None:
        world = World()
        world.fill(30)
        shard = world.shard()
        await shard.start()
        await world.until_read(shard)
        rows = dict(world.store.rows)
        world.store.forget()
        for _ in range(3):
            await shard.step()
            world.clock.ms += 1_000
        assert world.store.rows == rows

    run(test)


def test_a_second_owner_ends_the_first_which_says_why() -> None:
    async def test() -> None:
        # Nothing is learned: what the first pushes until it is refused is not told to the second.
        world = live(World(spec(None)))
        world.fill(20)
        first, second = FeatureShard(world.shard()), FeatureShard(world.shard())
        await first.start()
        await wait_for(lambda: world.store.rows)
        world.clock.ms += 1
        await second.start()
        with pytest.raises(ProgressError, match=r"newer owner|claimed by"):
            async with asyncio.timeout(300):
                for number in range(10_000):
                    for partition in range(2):
                        who = f"u{partition}-0"
                        record = event(2 * number + partition + 1_000, who, "cart", 1, 20_000)
                        world.log.append("events", partition, record, START_MS + 20_000)
                    await asyncio.sleep(0.002)
                    await first.ping()
        with pytest.raises(ProgressError):
            await first.status()
        await first.stop()
        await second.ping()
        await second.stop()

    run(test)


def test_what_is_away_at_the_start_is_waited_for() -> None:
    class Late(MemorySource):
        tries = 0

        async def lag(self) -> dict[tuple[str, int], int]:
            self.tries += 1
            if self.tries < 4:
                raise Unavailable("kafka", "not yet")
            return await super().lag()

    async def test() -> None:
        world = live(World())
        world.fill(10)
        source = Late(world.log)
        shard = world.shard(source=source)
        actor = FeatureShard(shard)
        await actor.start()
        await wait_for(lambda: source.tries >= 2)
        posted = (await world.status_registry.collect())["shard-0"]
        assert posted["starting"] and posted["health"] == {"start": "kafka: not yet"}
        await wait_for(lambda: all_read(world, shard))
        assert source.tries >= 4
        assert (await actor.status())["health"] == {}
        await actor.stop()

    run(test)


def test_damaged_snapshots_are_passed_over_and_told(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        world = World()
        world.fill(30)
        shard = world.shard()
        await shard.start()
        await world.until_read(shard)
        await shard.stop()
        newest = world.snapshots.candidates("partition-0")[0].read()
        world.snapshots.save("partition-0", [bytes(newest[:-9])])
        again = world.shard()
        await again.start()
        assert again.states[0].offsets == shard.states[0].offsets
        for name in ("passed_over", "health"):
            told = str((await again.status())[name])
            assert "partition-0 (0 snapshots ago) was passed over: truncated" in told
        world.log.append("events", 0, event(99_999, "u0-2", "view", 1, 40_000), START_MS + 40_000)
        world.log.append("events", 1, event(99_998, "u1-3", "view", 1, 40_000), START_MS + 40_000)
        await world.until_read(again)
        world.clock.ms += 3_000
        await again.step()
        await again.step()
        assert (await again.status())["health"] == {}

    run(test)
    (alert,) = [record.getMessage() for record in caplog.records]
    assert alert.startswith("shard: passed_over: partition-0 (0 snapshots ago) was passed over: ")


def test_a_full_disk_is_survived_until_there_is_space_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Disk(MemorySnapshots):
        full = True

        def save(self, name: str, pieces: Iterable[bytes | memoryview]) -> int:
            if self.full:
                raise SnapshotError("no space left")
            return super().save(name, pieces)

    async def test() -> None:
        world, disk = World(), Disk()
        world.snapshots = disk
        world.fill(30)
        shard = world.shard()
        await shard.start()
        await world.until_read(shard)
        assert (await shard.status())["health"] == {"snapshots": "no space left"}
        assert disk.candidates("partition-0") == []
        disk.full = False
        await shard.stop()
        assert (await shard.status())["health"] == {}
        again = world.shard()
        await again.start()
        assert features(again) == features(shard)

    run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "shard: not_saved: no space left; the older ones stay, and it is tried again",
        "snapshots can be written again",
    ]


def test_a_broker_that_answers_no_fetch_is_named_in_health_until_it_does() -> None:
    class Silent(MemorySource):
        age_s = 0.0

        def fetch_age_s(self) -> float:
            return self.age_s

    async def test() -> None:
        world = World()
        source = Silent(world.log)
        shard = world.shard(source=source)
        await shard.start()
        for source.age_s, health in (
            (9.9, {}),
            (10.1, {"kafka": "no fetch has been answered for 10 s"}),
            (0.02, {}),
        ):
            world.clock.ms += 1_000
            await shard.step()
            posted = (await world.status_registry.collect())["shard-0"]
            assert (posted["fetch_age_s"], posted["health"]) == (source.age_s, health)

    run(test)


def test_a_broker_that_goes_away_is_shown_and_waited_for() -> None:
    class Broken(MemorySource):
        away = False

        async def poll(self, max_records: int, timeout_s: float) -> Any:
            if self.away:
                raise Unavailable("kafka", "gone")
            return await super().poll(max_records, timeout_s)

    async def test() -> None:
        world = live(World())
        source = Broken(world.log)
        shard = world.shard(source=source)
        actor = FeatureShard(shard)
        await actor.start()
        await wait_for(lambda: shard.states)
        source.away = True
        await wait_for_health(actor, {"step": "kafka: gone"})
        source.away = False
        world.fill(5)
        await wait_for(lambda: all_read(world, shard))
        await wait_for_health(actor, {})
        await actor.stop()

    run(test)


async def running(world: World, source: MemorySource) -> tuple[Shard, FeatureShard]:
    """A shard that reads from `source`, once it runs, and its actor."""
    shard = world.shard(source)
    actor = FeatureShard(shard)
    await actor.start()
    await wait_for(lambda: shard.state is ShardState.RUNNING)
    return shard, actor


class SilentSource(MemorySource):
    """Comes back from no poll while it is `silent`."""

    silent = False

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        if self.silent:
            await asyncio.Event().wait()
        return await super().poll(max_records, timeout_s)


def test_a_shard_that_is_stuck_in_a_step_fails_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        world = live(World())
        source = SilentSource(world.log)
        _, actor = await running(world, source)
        source.silent = True
        await asyncio.sleep(0.05)
        await actor.ping()
        monkeypatch.setattr("freshrank.feature_actors.shard.work_watch.STUCK_S", 0.01)
        stuck = "shard-0: a step has not ended for 0 s: it waits in run:.* > poll:.* > wait:"
        with pytest.raises(PartFailed, match=stuck):
            await actor.ping()
        source.silent = False

    run(test)


def test_a_shard_whose_status_is_stuck_fails_its_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    class SilentLag(MemorySource):
        silent = False

        async def lag(self) -> dict[tuple[str, int], int]:
            if self.silent:
                await asyncio.Event().wait()
            return await super().lag()

    async def test() -> None:
        world = live(World())
        source = SilentLag(world.log)
        _, actor = await running(world, source)
        source.silent = True
        monkeypatch.setattr("freshrank.feature_actors.shard.work_watch.STUCK_S", 0.6)
        await asyncio.sleep(1.5)
        with pytest.raises(PartFailed, match=r"shard-0: a status has not ended.* > lag:"):
            await actor.ping()
        source.silent = False

    run(test)


class AbsentSource(MemorySource):
    """Its broker is away."""

    away = False

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        if self.away:
            raise Unavailable("kafka", "away")
        return await super().poll(max_records, timeout_s)


def test_a_shard_that_waits_for_its_broker_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        world = live(World())
        source = AbsentSource(world.log)
        _, actor = await running(world, source)
        source.away = True
        monkeypatch.setattr("freshrank.feature_actors.shard.work_watch.STUCK_S", 1.0)
        await asyncio.sleep(1.2)
        await wait_for_health(actor, {"step": "kafka: away"})
        source.away = False
        await wait_for_health(actor, {})

    run(test)


class FailingSource(MemorySource):
    """Its polls fail once it is told to."""

    fails = False

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        if self.fails:
            raise ZeroDivisionError("planted")
        return await super().poll(max_records, timeout_s)


def test_a_shard_that_failed_says_so_while_its_outputs_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(outputs: object) -> None:
        await asyncio.Event().wait()

    async def test() -> None:
        world = live(World())
        source = FailingSource(world.log)
        shard, actor = await running(world, source)
        monkeypatch.setattr(ShardOutputs, "end", hang)
        source.fails = True
        await wait_for(lambda: shard.state is ShardState.FAILED)
        with pytest.raises(ZeroDivisionError, match="planted"):
            await actor.ping()

    run(test)
