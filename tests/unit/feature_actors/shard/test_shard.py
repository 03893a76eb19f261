import asyncio
import re
from collections.abc import Mapping

import pytest
from shard_world import World, all_read, features, live, run, wait_for
from small_shop import LABELLED, START_MS, event, spec, table_spec, visit
from source_offsets import upto

from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import DefinitionChanged, ProgressError
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.in_memory.log import MemorySource
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.shard import Shard


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
        assert "time_unit" in health["dead_time_unit"]
        assert status["not_ready"] == {}, "what is right is still taken"

    run(test)


RENAMED = b'{"visit_id": %d, "user": "u1", "page": 1, "secs": 0.5, "ts": 1700000000000}'
NO_TIME = b'{"visit_id": %d, "user": "u1", "page": 1, "seconds": 0.5, "ts": "gestern"}'


@pytest.mark.parametrize(
    ("wrong", "name", "why"),
    [
        (RENAMED, "visits.dead", "Object missing required field `seconds`"),
        (NO_TIME, "visits.dead", "Expected `int`, got `str` - at `$.ts`"),
        (None, "visits.late", "too late"),
    ],
    ids=["of a renamed field", "of a time that is none", "that are too late"],
)
def test_records_of_one_of_two_streams_are_one_alert_with_the_topic_and_the_reason(
    wrong: bytes | None, name: str, why: str
) -> None:
    async def test() -> None:
        world = World(spec(two_streams=True))
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        world.log.append("visits", 0, visit(0, "u1", 1, 600_000), START_MS + 600_000)
        for number in range(1, 800):
            good = event(number, "u1", "view", 7, 600_000)
            world.log.append("events", 0, good, START_MS + 600_000)
        for number in range(1, 31):
            value = visit(number, "u1", 1, 0) if wrong is None else wrong % number
            world.log.append("visits", 0, value, START_MS + 600_000)
        await world.until_read(shard)
        for _ in range(2):
            world.clock.ms += 1_000
            await shard.step()
        status = await shard.status()
        assert (status["dead"], status["late"]) == ((0, 30) if wrong is None else (30, 0))
        assert alerts.status()["by_kind"] == {"rejected": 1}
        health = status["health"]
        assert isinstance(health, dict)
        assert set(health) == {name}
        assert "97 % of 31" in health[name] and "'visits'" in health[name] and why in health[name]

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


def test_a_shard_that_reads_fewer_records_than_come_is_told_once_until_it_has_caught_up() -> None:
    class Slow(MemorySource):
        """Reads no more than `most` records at a time."""

        most = 1

        async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
            return await super().poll(min(max_records, self.most), timeout_s)

    async def test() -> None:
        world = World()
        alerts, source = Alerts("shard-0", world.clock), Slow(world.log)
        shard = world.shard(source=source, alerts=alerts)
        await shard.start()
        for _ in range(120):
            world.fill(2)
            await shard.step()
            world.clock.ms += 1_000
        status = await shard.status()
        health = status["health"]
        assert isinstance(health, dict)
        assert re.match("falls behind: [0-9]+ records/s are read and [0-9]+ come", health["lag"])
        assert status["not_ready"] == {}, "what it has read is right"
        by_kind = alerts.status()["by_kind"]
        assert isinstance(by_kind, dict) and by_kind["behind"] == 1
        source.most = 10_000
        await world.until_read(shard)
        for _ in range(70):
            await shard.step()
            world.clock.ms += 1_000
        health = (await shard.status())["health"]
        assert isinstance(health, dict) and "lag" not in health

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
        alerts = Alerts("shard-0", world.clock)
        shard = world.shard(alerts=alerts)
        await shard.start()
        await world.until_read(shard)
        status = await shard.status()
        assert (status["events"], status["lost_to_retention"], status["health"]) == (6, 0, {})
        assert status["deleted_before_start"] == 4
        assert alerts.status()["by_kind"] == {"begins_late": 1}
        told = str(alerts.status()["newest"])
        assert "events: the oldest 4 record(s), in 1 partition(s), had been deleted" in told
        await shard.stop()
        later = Alerts("shard-0", world.clock)
        again = world.shard(alerts=later)
        await again.start()
        assert (await again.status())["deleted_before_start"] == 4, "counted once"
        assert later.status()["by_kind"] == {}, "told once"

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


def test_shards_of_several_entities_run_and_stop_together() -> None:
    async def test() -> None:
        users, items = live(World()), live(World(table_spec()))
        for world in (users, items):
            world.fill(30)
        shard, other = users.shard(), items.shard()
        actor = FeatureShard(shard, others=[other])
        await actor.start()
        await wait_for(lambda: all_read(users, shard) and read(items, other))
        await actor.ping()
        assert (await actor.status())["name"] == "shard-0"
        await actor.stop()
        again = items.shard()
        await again.start()
        assert features(again) == features(other), "both have written their snapshots"
        assert items.store.rows.keys() == {
            table.plan.row_key(name)
            for state in other.states.values()
            for table in state.row_tables
            for name in table.entities(table.slots())
        }

    def read(world: World, shard: Shard) -> bool:
        return bool(shard.states) and all(
            world.log.end("catalogue", partition) == state.offsets["catalogue"]
            for partition, state in shard.states.items()
        )

    run(test)


def test_the_error_of_any_shard_is_that_of_the_actor() -> None:
    async def test() -> None:
        users, items = live(World()), live(World(table_spec()))
        shard, other = users.shard(), items.shard()
        actor = FeatureShard(shard, others=[other])
        await actor.start()
        await wait_for(lambda: bool(other.states) and bool(shard.states))
        # A newer writer has taken the partitions of the items.
        for partition in other.states:
            await items.store.claim(partition, 2**60)
        items.fill(3)
        with pytest.raises(ProgressError, match=r"newer owner|is claimed by epoch"):
            for _ in range(2_000):
                await asyncio.sleep(0.001)
                await actor.ping()
        await actor.stop()

    run(test)


@pytest.mark.parametrize(("made", "waits"), [(table_spec(), True), (spec(), False)])
def test_a_shard_is_not_ready_before_it_has_read_the_rows_of_its_tables(
    made: PartitionSpec, waits: bool
) -> None:
    async def test() -> None:
        world = World(made)
        world.fill(30)
        shard = world.shard()
        await shard.start()
        await shard.step()
        (found,) = [(await shard.status())["not_ready"]]
        assert isinstance(found, Mapping)
        assert list(found) == (["catalogue"] if waits else [])
        if waits:
            assert found["catalogue"] == "7 of 120 records are read"
        await world.until_read(shard)
        world.clock.advance(1.0)
        await shard.step()
        assert (await shard.status())["not_ready"] == {}
        await shard.stop()

    run(test)
