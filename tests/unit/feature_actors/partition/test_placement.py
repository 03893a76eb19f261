"""Records that lie in another partition than their entity belongs to are told from the others."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_world import World, run
from small_shop import JOINED, START_MS, activity, batch, event, events, impression, spec

from freshrank import Entity, Stream
from freshrank.actors.alerts import Alerts
from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.actors.records import RejectKind
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.views.plan import FeaturePlan

PARTITIONS = 2
USERS = [f"user-{number}" for number in range(40)]


def declared(partitioner: str) -> PartitionSpec:
    """The small shop, whose producers are declared to choose partitions so."""
    made = spec(JOINED)
    stream = replace(events, partitioner=partitioner)
    plan = FeaturePlan([activity(stream)])
    return replace(made, plan=plan, encoder=InputEncoder([plan], stream, ["item"], []))


def shop_with_clicks(made: PartitionSpec, keyed_by: Partitioner | None) -> World:
    """Each user is shown an item and orders it; events lie where `keyed_by` puts them.

    Impressions are those of replicas, which know what is declared. None: records without a key.
    """
    world = World(made)
    for number, name in enumerate(USERS):
        key = name.encode()
        shown_at = partition_of(key, PARTITIONS, made.stream.placed_by)
        happened_at = number % PARTITIONS
        if keyed_by is not None:
            happened_at = partition_of(key, PARTITIONS, keyed_by)
        shown = impression(made, name, [7], 1_000, number)
        world.log.append("shown", shown_at, shown, START_MS + 1_000)
        order = event(number, name, "order", 7, 2_000)
        world.log.append("events", happened_at, order, START_MS + 2_000)
    return world


async def read(world: World, alerts: Alerts) -> dict[str, object]:
    """Read it all; gives the shard's status."""
    shard = world.shard(alerts=alerts)
    await shard.start()
    await world.until_read(shard)
    world.clock.ms += 1_000
    await shard.step()
    return dict(await shard.status())


@pytest.mark.parametrize(
    ("declares", "keyed_by"),
    [("murmur2", Partitioner.CRC32), ("crc32", Partitioner.MURMUR2)],
)
def test_events_keyed_by_another_partitioner_are_counted_alerted_and_not_ready(
    declares: str, keyed_by: Partitioner
) -> None:
    async def test() -> None:
        world = shop_with_clicks(declared(declares), keyed_by)
        alerts = Alerts("shard-0", world.clock)
        status = await read(world, alerts)
        by_declared = [partition_of(u.encode(), 2, Partitioner(declares)) for u in USERS]
        by_other = [partition_of(u.encode(), 2, keyed_by) for u in USERS]
        wrong = sum(a != b for a, b in zip(by_declared, by_other, strict=True))
        assert wrong > 10
        assert status["events"] == 40 - wrong == status["positives"]
        assert status["dead"] == status["dead_misplaced"] == wrong
        assert status[f"dead_misplaced_{keyed_by}"] == wrong
        assert alerts.status()["by_kind"] == {"rejected": 1}
        told = status["not_ready"]
        assert isinstance(told, dict)
        assert f'declare Stream(partitioner="{keyed_by}")' in told["dead_misplaced"]
        reasons = [record.reason for _, record in world.sink.rejected]
        assert len(reasons) == wrong
        assert all(f'partitioner="{keyed_by}"' in reason for reason in reasons)

    run(test)


@pytest.mark.parametrize("partitioner", list(Partitioner))
def test_with_the_right_partitioner_declared_all_positives_are_joined(
    partitioner: Partitioner,
) -> None:
    async def test() -> None:
        world = shop_with_clicks(declared(str(partitioner)), partitioner)
        alerts = Alerts("shard-0", world.clock)
        status = await read(world, alerts)
        assert (status["events"], status["positives"], status["dead"]) == (40, 40, 0)
        assert status["not_ready"] == {} == alerts.status()["by_kind"]

    run(test)


def test_records_without_a_key_count_where_they_lie_in_their_entitys_partition() -> None:
    async def test() -> None:
        world = shop_with_clicks(declared("murmur2"), None)
        alerts = Alerts("shard-0", world.clock)
        status = await read(world, alerts)
        right = sum(
            partition_of(name.encode(), PARTITIONS) == number % PARTITIONS
            for number, name in enumerate(USERS)
        )
        assert status["events"] == status["positives"] == right
        assert status["dead_misplaced"] == 40 - right
        told = status["not_ready"]
        assert isinstance(told, dict)
        fix = 'key the records by the entity, or declare Stream(partitioner="any")'
        assert fix in told["dead_misplaced"]

    run(test)


def test_twelve_events_of_a_user_without_keys_are_those_of_one_partition_and_told() -> None:
    async def test() -> None:
        world = World()
        for number in range(12):
            value = event(number, "u1", "view", 7, 1_000)
            world.log.append("events", number % PARTITIONS, value, START_MS + 1_000)
        alerts = Alerts("shard-0", world.clock)
        status = await read(world, alerts)
        assert (status["events"], status["dead_misplaced"]) == (6, 6)
        assert status["not_ready"] != {} and alerts.status()["by_kind"] == {"rejected": 1}

    run(test)


def test_impressions_of_another_partition_are_rejected_and_counted_apart() -> None:
    made = declared("murmur2")
    state = PartitionState(made, 0, PARTITIONS)
    names = ["u1", "u5"]  # of partition 0 and of partition 1
    values = [impression(made, name, [7], 1_000, at) for at, name in enumerate(names)]
    outcome = state.process(consecutive_records("shown", 0, values, START_MS + 1_000))
    assert [record.offset for record in outcome.dead] == [1]
    assert outcome.dead[0].kind is RejectKind.IMPRESSION_MISPLACED
    counters = state.counters
    assert (counters.impressions, counters.dead, counters.dead_impression_misplaced) == (1, 1, 1)
    assert counters.dead_misplaced == 0


def test_a_misplaced_record_among_bad_ones_is_rejected_in_the_order_of_the_log() -> None:
    state = PartitionState(declared("murmur2"), 0, PARTITIONS)
    values = [
        b"{broken",
        event(1, "u5", "view", 7, 1_000),
        event(2, "u1", "view", 7, 1_000),
        b"{broken",
    ]
    outcome = state.process(batch("events", values))
    assert [record.offset for record in outcome.dead] == [0, 1, 3]
    assert [record.value for record in outcome.dead] == [values[0], values[1], values[3]]
    assert (state.counters.events, state.counters.dead_misplaced) == (1, 1)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.text(max_size=12), max_size=20), st.integers(1, 9), st.sampled_from(Partitioner))
def test_faults_are_the_keys_that_belong_elsewhere(
    keys: list[str], partitions: int, partitioner: Partitioner
) -> None:
    found = {at.place for at in Placement(partitioner, 0, partitions).faults(keys)}
    belong = [partition_of(key.encode(), partitions, partitioner) for key in keys]
    assert found == set(np.flatnonzero(belong).tolist())


@pytest.mark.parametrize("wrong", ["every", "CRC32", "", None])
def test_a_partitioner_that_is_not_known_is_refused_and_the_known_are_named(wrong: str) -> None:
    class Play(msgspec.Struct):
        play_id: str
        listener: str
        at: int

    listener = Entity("listener", key="listener")
    with pytest.raises(ConfigError, match='"murmur2" or "crc32" or "any"'):
        Stream("plays", id="play_id", time="at", key=listener, schema=Play, partitioner=wrong)
