"""The explicit states of a shard, and of the writer of a partition's rows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from fake_clock import FakeClock
from shard_world import StrictStore, World, run
from small_shop import batch, event, spec
from source_offsets import upto

from freshrank.actors.errors import IllegalTransition
from freshrank.actors.transitions import next_state
from freshrank.feature_actors.partition import example_queue
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard import lifecycle, partition_writer
from freshrank.feature_actors.shard.lifecycle import ShardState
from freshrank.feature_actors.shard.partition_writer import PartitionWriter, WriterState

TABLES: Mapping[type[Enum], Mapping[Any, Mapping[Any, Any]]] = {
    lifecycle.ShardEvent: lifecycle.TRANSITIONS,
    partition_writer.WriterEvent: partition_writer.TRANSITIONS,
    example_queue.QueueEvent: example_queue.TRANSITIONS,
}


@pytest.mark.parametrize("events", TABLES)
def test_what_a_table_does_not_list_raises(events: type[Enum]) -> None:
    table = TABLES[events]
    illegal = [(state, event) for state in table for event in events if event not in table[state]]
    assert illegal
    for state, one in illegal:
        with pytest.raises(IllegalTransition, match=f"{one} cannot happen in {state}"):
            next_state(table, state, one)


@pytest.mark.parametrize("events", TABLES)
def test_every_state_but_the_first_is_reached(events: type[Enum]) -> None:
    table = TABLES[events]
    reached = {state for state, following in table.items() for state in following.values()}
    assert len(set(table) - reached) <= 1
    assert reached <= set(table)


def test_a_shard_that_runs_is_not_started_again() -> None:
    async def test() -> None:
        world = World()
        world.fill(5)
        shard = world.shard()
        await shard.start()
        await shard.step()
        before = dict(shard.states), {one: state.offsets for one, state in shard.states.items()}
        with pytest.raises(IllegalTransition):
            await shard.start()
        after = dict(shard.states), {one: state.offsets for one, state in shard.states.items()}
        assert (shard.state, after) == (ShardState.RUNNING, before)

    run(test)


def test_a_shard_that_has_stopped_stays_so_and_stops_again() -> None:
    async def test() -> None:
        world = World()
        shard = world.shard()
        await shard.start()
        await shard.stop()
        with pytest.raises(IllegalTransition):
            await shard.start()
        assert shard.state is ShardState.STOPPED
        await shard.stop()
        assert shard.state is ShardState.STOPPED

    run(test)


def test_a_shard_may_stop_before_it_has_begun() -> None:
    async def test() -> None:
        world = World()
        shard = world.shard()
        await shard.stop()
        assert (shard.state, shard.states) == (ShardState.STOPPED, {})
        assert world.snapshots.candidates("partition-0") == []

    run(test)


def test_a_writer_catches_up_before_it_writes_and_claims_again_what_was_lost() -> None:
    async def test() -> None:
        store, partition = StrictStore(), PartitionState(spec(), 0)
        written: list[int] = []
        writer = PartitionWriter(partition, store, 5, FakeClock(60_000))

        async def flush() -> None:
            await writer.flush(lambda rows, _: written.append(rows))

        await store.claim(0, 4)
        await store.write(0, 4, upto(2), [b"key"], b"row")
        partition.process(batch("events", [event(1, "u1", "view", 1, 0)]))
        assert writer.state is WriterState.UNCLAIMED
        await flush()
        assert (writer.state, written) == (WriterState.CATCHING_UP, [])
        partition.process(batch("events", [event(2, "u2", "view", 1, 0)], begin=1))
        await flush()
        assert (writer.state, written) == (WriterState.WRITING, [2])
        store.forget()
        partition.process(batch("events", [event(3, "u1", "view", 1, 0)], begin=2))
        await flush()
        assert (writer.state, written, writer.waiting) == (WriterState.UNCLAIMED, [2], 1)
        await flush()
        assert (writer.state, written) == (WriterState.WRITING, [2, 2]), "a new store gets all"

    run(test)
