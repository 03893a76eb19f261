"""What replicas write lies in the partitions that the stream's partitioner gives."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec
import pytest
from fake_clock import FakeClock

from freshrank import Count, FeatureView, Pipeline, col
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.benchmarks.crashes.recorded_stream import (
    PARTITIONS,
    RecordedEvent,
    recorded_pipeline,
    stream,
    user,
)
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

NOW_MS = 1_790_000_000_000
USERS = [f"user-{number}" for number in range(40)]


def keyed_by(partitioner: Partitioner) -> Pipeline:
    """A small pipeline whose producers choose partitions so."""
    own = replace(stream, partitioner=partitioner)

    class Activity(FeatureView):
        entity, source = user, own
        views = Count(where=col.kind == "view", windows=["1m"])

    return replace(recorded_pipeline(), stream=own, streams=[], features=[Activity])


@pytest.mark.parametrize("partitioner", list(Partitioner))
def test_the_sink_writes_by_the_partitioner_of_the_topic(partitioner: Partitioner) -> None:
    async def test() -> None:
        clock = FakeClock(NOW_MS)
        world, pipeline = World(MemoryLog(PARTITIONS), clock), keyed_by(partitioner)
        system = LocalSystem(pipeline, Settings(), world)
        await system.start()
        for name in USERS:
            await system.score({"user": name, "candidates": [{"item": 3}]})
            clock.ms += 10
            order = RecordedEvent(f"e-{name}", name, 3, "order", 1.0, clock.now_ms())
            answer = await system.replica.events.write(msgspec.json.encode(order), stream.topic)
            belongs = partition_of(name.encode(), PARTITIONS, partitioner)
            assert [place.partition for place in answer.positions] == [belongs]
        await system.drain()
        counters = [state.counters for shard in system.shards for state in shard.states.values()]
        assert sum(one.dead for one in counters) == 0
        assert sum(one.positives for one in counters) == len(USERS)
        await system.stop()

    asyncio.run(test())
