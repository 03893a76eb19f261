r"""One feature shard in a process of its own, which reads a topic that is already full.

    python -m freshrank.benchmarks.throughput.ingest_host \
        BOOTSTRAP REDIS TOPIC NAME FOLDER COUNT KEYS

prints an `IngestResult` as JSON when all events are applied and all rows are in Redis. KEYS is
``keyed``, or ``any`` where the records may lie in any partition: they are copied first.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import PartFailed
from freshrank.actors.protocols import OnlineStore
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.workloads.shop_fixture import shop_file, user_history
from freshrank.benchmarks.workloads.shop_traffic import background
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.external import prepare_topics
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor

KEYED, ANY = "keyed", "any"
"""Whether records lie where their keys belong, or anywhere."""

# Seconds between two checks of the shard's progress: a hundredth of the whole run.
POLL_S = 0.05


class IngestResult(msgspec.Struct, frozen=True):
    """The figures of one run."""

    seconds: float
    """From the start of the shard (it connects to Kafka first) until its last row is in Redis."""
    cpu_seconds: float
    """CPU time of this process meanwhile."""
    rows_written: int
    snapshot_bytes: int
    """Sum over the newest snapshot of each partition."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """The arguments of this process."""

    kafka: KafkaAccess
    redis_url: str
    topic: str
    name: str
    """The pipeline's: it is a prefix of the keys in Redis."""
    folder: Path
    """For the snapshots."""
    rekeyed: bool
    """Whether the topic's records may lie in any partition."""


def warm_up(pipeline: Pipeline) -> None:
    """Load every kernel from its cache, as a shard does before it reads."""
    events = user_history(100, 10**12, np.random.default_rng(0))
    state = PartitionState(pipeline.spec(ShardSettings()), 0)
    state.process(consecutive_records(pipeline.stream.topic, 0, events, 10**12))
    (table,) = state.tables
    table.rows(table.dirty.take(10))


@contextlib.asynccontextmanager
async def connected(
    options: IngestOptions, pipeline: Pipeline, partitions: int
) -> AsyncIterator[tuple[Connectors, LearnerActor]]:
    """Provide everything that a shard is connected to, within the block."""
    learner = LearnerActor(assembly.learner(pipeline, Settings().learner), SystemClock())
    sink, store = KafkaSink(options.kafka), RedisStore(options.redis_url, f"fr:{options.name}")
    statuses = MemoryStatusRegistry(SystemClock())
    connectors = kafka_and_redis(options.kafka, store, statuses, partitions, sink)
    async with contextlib.AsyncExitStack() as stack:
        for close in (connectors.close, learner.stop):
            stack.push_async_callback(close)
        await sink.start()
        await learner.start()
        yield connectors, learner


async def until_written(shard: Shard, running: asyncio.Task[None], count: int) -> None:
    """Wait until `count` events are applied and their rows are in Redis.

    Raises what ended the shard's task `running`, or PartFailed when it ended without an error.
    """
    while True:
        await asyncio.sleep(POLL_S)
        if running.done():
            await running
            raise PartFailed("the shard ended before it had read all records")
        applied = sum(state.counters.events for state in shard.states.values())
        if applied >= count and not (await shard.status())["rows_waiting"]:
            return


async def measure(options: IngestOptions, count: int) -> IngestResult:
    """Run a shard from an empty state until it has read `count` events."""
    warm_up(shop_file(options.topic, options.name).load())
    file = shop_file(options.topic, options.name, rekeyed=options.rekeyed)
    pipeline, settings = file.load(), Settings().shards
    partitions = (await prepare_topics(pipeline, options.kafka, Settings())).stream
    async with connected(options, pipeline, partitions) as (connectors, learner):
        training, follower = assembly.training(
            pipeline, learner, learner, connectors.clock, alerts=None
        )
        assert follower is not None  # this shard computes gradients
        shard = Shard(
            pipeline.spec(settings),
            ShardIdentity("shard-0", range(partitions)),
            ShardPorts(connectors, training, FileSnapshots(options.folder)),
        )
        progress = FileSnapshots(options.folder / "rekeying")
        rekeyers = [
            Rekeyer(stream, range(partitions), "", connectors, progress)
            for stream in pipeline.streams
            if stream.rekeyed
        ]
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(background(follower.run()))
            began, cpu_began = time.perf_counter(), time.process_time()
            running = asyncio.create_task(shard.run())
            for rekeyer in rekeyers:
                await stack.enter_async_context(background(rekeyer.run()))
            await until_written(shard, running, count)
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
            status = await shard.status()
            await shard.stop()
            await running
        await remove_rows(connectors.store, shard)
    written, stored = int(str(status["rows_written"])), int(str(status["snapshot_bytes"]))
    return IngestResult(seconds, cpu_seconds, written, stored)


async def remove_rows(store: OnlineStore, shard: Shard) -> None:
    """Remove the shard's rows from the Redis, which may not be the bench's own."""
    for partition, state in shard.states.items():
        epoch = SystemClock().now_ms()  # later than that of the shard, which has stopped
        await store.claim(partition, epoch)
        for table in state.tables:
            names = table.entities(table.slots())
            keys = [table.plan.row_key(name) for name in names]
            await store.remove(partition, epoch, keys)


def main() -> None:
    """Read the arguments, measure, print."""
    bootstrap, redis_url, topic, name, folder, count, keys = sys.argv[1:]
    access, rekeyed = KafkaAccess(bootstrap), keys == ANY
    options = IngestOptions(access, redis_url, topic, name, Path(folder), rekeyed)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure(options, int(count)))))


if __name__ == "__main__":
    main()
