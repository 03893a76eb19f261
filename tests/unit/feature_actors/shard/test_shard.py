import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from shard_world import World, features, run
from small_shop import LABELLED, START_MS, event, spec
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import DefinitionChanged, ProgressError, SnapshotError, Unavailable
from freshrank.actors.records import RecordBatch
from freshrank.benchmarks.crashes.recorded_stream import users_of
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.connectors.in_memory.stores import MemorySnapshots
from freshrank.feature_actors.partition import backpressure
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.shard import Shard


def live(world: World) -> World:
    """With background tasks and threads, as in a real system."""
    world.lock_step = False
    return world


async def wait_for(condition: Callable[[], object], seconds: float = 20.0) -> None:
    for _ in range(int(seconds * 1000)):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"not within {seconds} s")


async def wait_for_health(actor: FeatureShard, wanted: dict[str, str]) -> None:
    for _ in range(20_000):
        if (await actor.status())["health"] == wanted:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"not {wanted}")


def all_read(world: World, shard: Shard) -> bool:
    return bool(shard.states) and all(
        world.log.end(topic, partition) == state.offsets[topic]
        and not state.example_queue.unsent
        and not len(state.tables[0].dirty)
        for partition, state in shard.states.items()
        for topic in world.spec.topics
    )


def test_a_shard_that_runs_ends_where_one_in_lock_step_ends() -> None:
    async def test() -> None:
        world, twin = World(), live(World())
        for one in (world, twin):
            one.fill(60)
        shard, running = world.shard(), twin.shard()
        await shard.start()
        await world.until_read(shard)
        actor = FeatureShard(running)
        await actor.start()
        await wait_for(lambda: all_read(twin, running))
        await actor.ping()
        await actor.stop()
        assert features(running) == features(shard)
        assert twin.learner.examples() == world.learner.examples()
        assert twin.store.rows == world.store.rows

    run(test)


def test_a_stopped_shard_has_given_all_away_and_the_next_goes_on_from_there() -> None:
    async def test() -> None:
        world = live(World())
        world.fill(40)
        shard = world.shard()
        first = FeatureShard(shard)
        await first.start()
        await wait_for(lambda: any(state.counters.events > 10 for state in shard.states.values()))
        await first.stop()
        await first.stop()
        second = world.shard()
        await second.start()
        for partition, state in second.states.items():
            assert state.offsets == shard.states[partition].offsets
            assert not len(state.tables[0].dirty)
            assert not state.example_queue.unsent
        assert features(second) == features(shard)

    run(test)


def test_status_tells_the_figures() -> None:
    async def test() -> None:
        world = World()
        world.fill(30)
        shard = world.shard()
        assert (await shard.status())["starting"] is True
        await shard.start()
        await shard.step()
        status = await shard.status()
        lag = status["lag_total"]
        assert isinstance(lag, int)
        assert status["catching_up"] == {"done": 7, "of": 7 + lag}
        await world.until_read(shard)
        world.clock.ms += 10_000
        await shard.step()
        status = await shard.status()
        assert (status["catching_up"], status["lag_total"], status["health"]) == (None, 0, {})
        assert status["entities"] == 8 and status["events"] == 60
        assert status["duplicates"] and status["dead"] and status["examples"]
        assert status["rows_written"] and status["spans_pushed"] and status["snapshot_bytes"]
        assert status["waiting"] == [] and status["silent"] == []
        assert (await world.status_registry.collect())["shard-0"]["events"] == 60
        freshness = status["freshness"]
        assert isinstance(freshness, dict) and freshness["count"] == status["rows_written"]

    run(test)


def test_a_stream_in_seconds_is_counted_by_its_reason_and_alerted_once() -> None:
    async def test() -> None:
        world = World()
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        for number in range(120):
            at_s = (START_MS + number) // 1000
            value = event(number, "u1", "view", 7, at_s - START_MS)
            world.log.append("events", 0, value, START_MS + number)
        await world.until_read(shard)
        for _ in range(2):
            world.clock.ms += 1_000
            await shard.step()
        status = await shard.status()
        assert (status["dead"], status["dead_time_unit"], status["events"]) == (120, 120, 0)
        assert alerts.status()["by_kind"] == {"rejected": 1}
        health = status["health"]
        assert isinstance(health, dict)
        assert "not in milliseconds" in health["dead_time_unit"]
        assert status["not_ready"] == {}, "what is right is still taken"

    run(test)


def test_a_partition_of_which_nothing_is_read_is_told_by_readiness_and_an_alert() -> None:
    class Stuck(MemorySource):
        async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
            return []

    async def test() -> None:
        world = World()
        world.fill(30)
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(source=Stuck(world.log), alerts=alerts)
        await shard.start()
        await shard.step()
        assert (await shard.status())["not_ready"] == {}
        world.clock.ms += 11_000
        await shard.step()
        status = await shard.status()
        told = status["not_ready"]
        assert isinstance(told, dict) and told.keys() >= {"events-0", "events-1"}
        assert "wait at offset 0, and none has been read for 11 s" in told["events-0"]
        assert status["health"] == told
        assert alerts.status()["by_kind"] == {"stalled": len(told)}
        world.clock.ms += 1_000
        await shard.step()
        assert alerts.status()["by_kind"] == {"stalled": len(told)}, "told once"

    run(test)


@pytest.mark.parametrize("events_after", [0, 2, 40])
def test_a_topic_that_is_created_again_is_read_no_more_and_told(events_after: int) -> None:
    async def test() -> None:
        world = World()
        world.fill(30)
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        await world.until_read(shard)
        before = features(shard)
        world.log.create_again("events")
        for number in range(events_after):
            world.log.append("events", 0, event(90_000 + number, "u0-2", "view", 1, 40_000), 1)
        for _ in range(20):
            await shard.step()
            world.clock.ms += 250
        assert features(shard) == before
        told = (await shard.status())["not_ready"]
        assert isinstance(told, dict) and "the topic was created again" in told["events"]
        assert alerts.status()["by_kind"] == {"log_changed": 1}

    run(test)


@pytest.mark.parametrize("restarted", [False, True])
def test_records_that_retention_took_before_they_were_read_are_counted_and_told(
    restarted: bool,
) -> None:
    async def test() -> None:
        world = World()
        for number in range(10):
            value = event(number, "u1", "view", 7, 1_000)
            world.log.append("events", 0, value, START_MS + 1_000)
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        await world.until_read(shard)
        if restarted:
            await shard.stop()
        for number in range(10, 30):
            value = event(number, "u1", "view", 7, 1_000)
            world.log.append("events", 0, value, START_MS + 1_000)
        world.log.delete("events", 0, before=25)
        if restarted:
            shard = world.shard(alerts=alerts)
            await shard.start()
        await world.until_read(shard)
        status = await shard.status()
        assert (status["events"], status["lost_to_retention"], status["skipped"]) == (15, 15, 0)
        assert alerts.status()["by_kind"] == {"lost_to_retention": 1}
        health = status["health"]
        assert isinstance(health, dict)
        told = health["events-0 retention"]
        assert "15 record(s) from offset 10 on were deleted before they were read" in told
        assert status["not_ready"] == {}, "what is left is taken"
        await shard.stop()
        again = world.shard()
        await again.start()
        assert (await again.status())["lost_to_retention"] == 15, "counted once"

    run(test)


def test_a_new_state_has_lost_nothing_of_what_was_deleted_before() -> None:
    async def test() -> None:
        world = World()
        for number in range(10):
            value = event(number, "u1", "view", 7, 1_000)
            world.log.append("events", 0, value, START_MS + 1_000)
        world.log.delete("events", 0, before=4)
        shard = world.shard()
        await shard.start()
        await world.until_read(shard)
        status = await shard.status()
        assert (status["events"], status["lost_to_retention"], status["health"]) == (6, 0, {})

    run(test)


def test_a_topic_that_gets_more_partitions_is_told() -> None:
    async def test() -> None:
        world = World()
        world.fill(10)
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        world.log.partitions = 8
        world.clock.ms += 3_000
        await shard.step()
        told = (await shard.status())["not_ready"]
        assert isinstance(told, dict)
        assert told["events"].startswith("it has 8 partitions and had 2, so that keys have moved")
        assert alerts.status()["by_kind"] == {"log_changed": 2}, "of both topics"

    run(test)


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
        assert (await shard.status())["health"] == {}

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
        world = live(World())
        world.fill(20)
        first, second = FeatureShard(world.shard()), FeatureShard(world.shard())
        await first.start()
        await wait_for(lambda: world.store.rows)
        world.clock.ms += 1
        await second.start()
        with pytest.raises(ProgressError, match=r"newer owner|claimed by"):
            async with asyncio.timeout(20):
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


def test_a_topic_that_ends_before_the_learners_cut_is_an_error() -> None:
    async def test() -> None:
        world = World()
        world.fill(10)
        world.learner.applied[1] = upto(9_999)
        shard = world.shard()
        await shard.start()
        with pytest.raises(ProgressError, match=r"events-1 ends at \d+, but .* up to 9999"):
            await world.until_read(shard)

    run(test)


def test_damaged_snapshots_are_passed_over_and_told() -> None:
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


def test_snapshots_of_other_definitions_are_not_silently_replaced() -> None:
    async def test() -> None:
        world = World()
        world.fill(10)
        shard = world.shard()
        await shard.start()
        await world.until_read(shard)
        await shard.stop()
        world.spec = spec(LABELLED)
        with pytest.raises(DefinitionChanged):
            await world.shard().start()

    run(test)


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
