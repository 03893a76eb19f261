r"""One feature shard in a process of its own, which reads a topic that is already full.

    python -m freshrank.benchmarks.throughput.ingest_host \
        BOOTSTRAP REDIS TOPIC NAME FOLDER COUNT KEYS [DATA]

prints an `IngestResult` as JSON when all events are applied and all rows are in Redis. KEYS is
``keyed``, or ``any`` where the records may lie in any partition: they are copied first. ``item``
is ``keyed`` with a view of items beside: a second shard applies copies of the events to it. ``job``
is ``keyed`` with the features of the job that engines are compared by. The name of a `RealHistory`
is ``keyed`` with the pipeline of its example, whose history is the file DATA.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import uvloop

from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.protocols import OnlineStore
from freshrank.actors.runtime import freeze_heap
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.polling import Standstill
from freshrank.benchmarks.workloads.histories.real_history import REAL
from freshrank.benchmarks.workloads.shared_job import job_file
from freshrank.benchmarks.workloads.shop_events import user_name
from freshrank.benchmarks.workloads.shop_fixture import shop_file, user_history
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.records import History
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.external import TopicPartitions, prepare_topics
from freshrank.deploy.wiring import assembly
from freshrank.deploy.wiring.replay import replay
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard
from freshrank.learner.actor import LearnerActor

KEYED, ANY, ITEM, JOB = "keyed", "any", "item", "job"
"""Whether records lie where their keys belong, or anywhere, or count for their items, too; or for
the features of `shared_job`."""

SAMPLED = 200
"""How many users' rows a run of `JOB` gives."""

# Seconds between two checks of the shard's progress: a hundredth of the whole run.
POLL_S = 0.05
# Seconds without progress after which what is missing does not come.
STILL_S = 30.0
# Events of a real history that load the kernels.
_FIRST = 500


class IngestResult(msgspec.Struct, frozen=True):
    """The figures of one run."""

    seconds: float
    """From the start of the shard (it connects to Kafka first) until its last row is in Redis."""
    cpu_seconds: float
    """CPU time of this process meanwhile."""
    rows_written: int
    snapshot_bytes: int
    """Sum over the newest snapshot of each partition."""
    rows: list[bytes | None] = []
    """Of `JOB`: those in Redis of the first `SAMPLED` users."""


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
    keys: str
    """One of `KEYED`, `ANY`, `ITEM` and `JOB`, or the name of a `RealHistory`."""
    data: Path | None = None
    """The file of the `RealHistory`."""

    @property
    def file(self) -> PipelineFile:
        """The pipeline's."""
        if self.keys == JOB:
            return job_file(self.topic, self.name)
        if self.keys in REAL:
            return REAL[self.keys].file(self.topic, self.name)
        of_items = self.keys == ITEM
        return shop_file(self.topic, self.name, rekeyed=self.keys == ANY, of_items=of_items)


async def warm_up(options: IngestOptions, pipeline: Pipeline) -> None:
    """Load every kernel from its cache, as a shard does before it reads."""
    if options.data is not None:
        records = list(itertools.islice(REAL[options.keys].records(options.data), _FIRST))
        keys, values, times_ms = zip(*records, strict=True)
        await replay(pipeline, History([*keys], [*values], np.array(times_ms, dtype=np.int64)))
        return
    events = user_history(100, 10**12, np.random.default_rng(0))
    state = PartitionState(pipeline.spec(ShardSettings()), 0)
    state.process(consecutive_records(pipeline.stream.log_topic, 0, events, 10**12))
    (table,) = state.tables
    table.rows(table.dirty.take(10))


@contextlib.asynccontextmanager
async def connected(
    options: IngestOptions, pipeline: Pipeline, partitions: TopicPartitions
) -> AsyncIterator[tuple[Connectors, LearnerActor]]:
    """Provide everything that a shard is connected to, within the block."""
    learner = LearnerActor(assembly.learner(pipeline, Settings().learner), SystemClock())
    sink, store = KafkaSink(options.kafka), RedisStore(options.redis_url, f"fr:{options.name}")
    statuses = MemoryStatusRegistry(SystemClock())
    connectors = kafka_and_redis(
        options.kafka, store, statuses, partitions.stream, sink, partitions.candidates
    )
    async with contextlib.AsyncExitStack() as stack:
        for close in (connectors.close, learner.stop):
            stack.push_async_callback(close)
        await sink.start()
        await learner.start()
        yield connectors, learner


async def until_written(part: FeatureShard, shards: Sequence[Shard], count: int) -> None:
    """Wait until each shard has applied `count` events, and their rows are in Redis.

    Until their examples are learned, too, where there are any.

    Raises what ended one of them, and Unavailable where they do not come: as where the broker has
    deleted records before they were read.
    """
    for shard in shards:
        still = Standstill("shard", STILL_S)
        while True:
            await asyncio.sleep(POLL_S)
            await part.ping()
            found = progress(shard.states.values())
            if found["applied"] >= count and not found["unlearned"]:
                found["unwritten rows"] = int(str((await shard.status())["rows_waiting"]))
                if not found["unwritten rows"]:
                    break
            still.check({"events in all": count, **found}, time.monotonic())


def progress(states: Iterable[PartitionState]) -> dict[str, int]:
    """How far partitions are, and where the events are that they have not applied."""
    states = list(states)
    counters = [state.counters for state in states]
    read = sum(one.records for one in counters)
    passed = sum(sum(state.offsets.values()) for state in states)
    return {
        "applied": sum(one.events for one in counters),
        "unlearned": sum(state.example_queue.unsent for state in states),
        "late": sum(one.late for one in counters),
        "rejected": sum(one.dead for one in counters),
        "duplicates": sum(one.duplicates for one in counters),
        "deleted before they were read": max(0, passed - read),
    }


async def measure(options: IngestOptions, count: int) -> IngestResult:
    """Run shards from an empty state until they have read `count` events."""
    pipeline = options.file.load()
    await warm_up(options, pipeline)
    partitions = await prepare_topics(pipeline, options.kafka, Settings())
    async with connected(options, pipeline, partitions) as (connectors, learner):
        training, follower = assembly.training(
            pipeline, learner, learner, connectors.clock, alerts=None
        )
        shards = _shards(options, pipeline, connectors, training)
        part = FeatureShard(shards[0], follower, shards[1:])
        freeze_heap()  # as each process of a running system does
        began, cpu_began = time.perf_counter(), time.process_time()
        await part.start()
        await until_written(part, shards, count)
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
        statuses = [await shard.status() for shard in shards]
        await part.stop()
        rows: list[bytes | None] = []
        if options.keys == JOB:
            users = [pipeline.plan.tables[0].row_key(user_name(user)) for user in range(SAMPLED)]
            rows = (await connectors.store.read(users)).rows
        for shard in shards:
            await remove_rows(connectors.store, shard)
    written, stored = (
        sum(int(str(status[name])) for status in statuses)
        for name in ("rows_written", "snapshot_bytes")
    )
    return IngestResult(seconds, cpu_seconds, written, stored, rows)


def _shards(
    options: IngestOptions, pipeline: Pipeline, connectors: Connectors, training: Training
) -> list[Shard]:
    """The shard of users, and that of items where there are features of them."""
    settings, owned = Settings().shards, range(connectors.partitions)
    progress = FileSnapshots(options.folder / "rekeying")
    rekeyers = [
        Rekeyer(stream, owned, "", connectors, progress)
        for stream in pipeline.streams
        if stream.rekeyed
    ]
    shard = Shard(
        pipeline.spec(settings),
        ShardIdentity("shard-0", owned),
        ShardPorts(connectors, training, FileSnapshots(options.folder), rekeyers=rekeyers),
    )
    around = assembly.ShardSurroundings(
        0, settings, connectors, lambda entity: FileSnapshots(options.folder / entity)
    )
    return [shard, *assembly.candidate_shards(pipeline, around)]


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
    bootstrap, redis_url, topic, name, folder, count, keys, *data = sys.argv[1:]
    options = IngestOptions(
        KafkaAccess(bootstrap), redis_url, topic, name, Path(folder), keys, *map(Path, data)
    )
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(measure(options, int(count)))))


if __name__ == "__main__":
    main()
