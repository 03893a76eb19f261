"""One feature shard in a process of its own, on a topic that is full already.

    python -m freshrank.benchmarks.throughput.ingest_host BOOTSTRAP REDIS TOPIC NAME FOLDER COUNT

prints an `IngestResult` as JSON when all events are applied and all rows are in Redis.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from freshrank.actors.clock import Clock, SystemClock
from freshrank.actors.errors import PartFailed
from freshrank.actors.messages import RecordBatch
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.workloads.shop_fixture import shop_file, user_history
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import prepare_topics
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.connectors.redis.status_board import RedisStatusRegistry
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import Bounds
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor

# Seconds between two looks at how far the shard is: a hundredth of what the whole takes.
LOOK_S = 0.05


class IngestResult(msgspec.Struct, frozen=True):
    """What one run gave."""

    seconds: float
    """From the start of the shard (it connects to Kafka first) until its last row is in Redis."""
    cpu_seconds: float
    """Of this process in that time."""
    rows_written: int
    snapshot_bytes: int
    """Bytes of the newest of each partition."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is."""

    kafka: KafkaAccess
    redis_url: str
    topic: str
    name: str
    """Of the pipeline: its keys in Redis are its own."""
    folder: Path
    """For the snapshots."""


def warm_up(pipeline: Pipeline) -> None:
    """Load every kernel from its cache, as a shard does before it reads."""
    events = user_history(100, 10**12, np.random.default_rng(0))
    offsets = np.arange(len(events), dtype=np.int64)
    stamps = np.full(len(events), 10**12, dtype=np.int64)
    state = PartitionState(pipeline.spec(Bounds(entities=1_000, event_ids=1_000)), 0)
    state.process(RecordBatch(pipeline.stream.topic, 0, list(events), offsets, stamps))
    state.table.rows(state.dirty.take(10))


async def until_all_is_written(shard: Shard, running: asyncio.Task[None], count: int) -> None:
    """Come back when `count` events are applied and no row waits. Raises what ends the shard."""
    while True:
        await asyncio.sleep(LOOK_S)
        if running.done():
            await running
            raise PartFailed("the shard ended before it had read all")
        applied = sum(state.counters.events for state in shard.states.values())
        if applied >= count and not (await shard.status())["rows_waiting"]:
            return


async def measure(place: Place, count: int) -> IngestResult:
    """Run the shard from nothing until it has everything."""
    pipeline = shop_file(place.topic, place.name).load()
    warm_up(pipeline)
    settings, clock = Settings(), SystemClock()
    partitions = await prepare_topics(pipeline, place.kafka, settings)
    sink, store = KafkaSink(place.kafka), RedisStore(place.redis_url, f"fr:{place.name}")
    status_registry = RedisStatusRegistry(place.redis_url, f"fr:{place.name}")
    core = assembly.learner(pipeline, settings.learner)
    learner = LearnerActor(core, clock)
    snapshots = FileSnapshots(place.folder)
    parts = assembly.ShardParts(
        source=KafkaSource(place.kafka),
        sink=sink,
        store=store,
        learner=learner,
        parameters=learner,
        snapshots=snapshots,
        status_registry=status_registry,
        clock=clock,
    )
    shard, follower = assembly.shard(
        pipeline,
        range(partitions),
        assembly.shard_settings(settings.shards, "shard-0"),
        parts,
        assembly.bounds(settings.shards),
    )
    assert follower is not None  # gradients are computed here
    await sink.start()
    await learner.start()
    following = asyncio.create_task(follower.run())
    began, cpu_began = time.perf_counter(), time.process_time()
    running = asyncio.create_task(shard.run())
    await until_all_is_written(shard, running, count)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    status = await shard.status()
    await shard.stop()
    await running
    following.cancel()
    await learner.stop()
    await remove_rows(store, shard, clock)
    for part in (sink.stop, store.close, status_registry.close):
        await part()
    return IngestResult(
        seconds, cpu_seconds, int(str(status["rows_written"])), int(str(status["snapshot_bytes"]))
    )


async def remove_rows(store: RedisStore, shard: Shard, clock: Clock) -> None:
    """Leave the Redis as it was found, for it may be somebody's."""
    for partition, state in shard.states.items():
        names = state.table.entities(state.table.slots())
        epoch = clock.now_ms()  # higher than that of the shard, which has stopped
        await store.claim(partition, epoch)
        keys = [state.spec.row_key(name) for name in names]
        await store.remove(partition, epoch, keys)


def main() -> None:
    """Read the arguments, measure, print."""
    bootstrap, redis_url, topic, name, folder, count = sys.argv[1:]
    place = Place(KafkaAccess(bootstrap), redis_url, topic, name, Path(folder))
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure(place, int(count)))))


if __name__ == "__main__":
    main()
