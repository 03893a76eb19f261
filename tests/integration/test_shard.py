"""A shard between a real Kafka and a real Redis, stopped, killed and robbed of its rows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec
import redis
from serving import ReplicaUnderTest
from shard_world import PARTITIONS, FakeLearner, features, wait_for
from small_shop import Event, impression, spec
from whole_system import PATIENCE_S

from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.records import RecordBatch
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.polling import wait_for as polled
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.servers.brokers import Broker
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard
from freshrank.serve.api.responses import Position
from freshrank.serve.entities.entity_forgetter import EntityForgetter

USERS = 20


class ClusterSpec:
    """Topics of its own, and what outlives a shard."""

    def __init__(self, kafka: KafkaAccess, redis_url: str, name: str, folder: Path) -> None:
        self.kafka, self.redis_url, self.name = kafka, redis_url, name
        made = spec(prefix=f"{name}.")
        settings = made.settings.model_copy(update={"snapshot_interval_s": 0.3})
        self.spec = replace(made, settings=settings)
        self.topics = self.spec.topics
        self.learner = FakeLearner()
        self.snapshots = FileSnapshots(folder)
        self.clock = SystemClock()
        self.sink = KafkaSink(kafka)
        self.written = 0

    async def start(self) -> None:
        useless = [f"{self.name}.events.dead", f"{self.name}.events.late"]
        await ensure_topics(self.kafka, [*self.topics, *useless], PARTITIONS)
        await self.sink.start()

    async def shard(self) -> tuple[Shard, Connectors, KafkaSource]:
        source, sink = KafkaSource(self.kafka), KafkaSink(self.kafka)
        await sink.start()
        connectors = replace(
            kafka_and_redis(
                self.kafka,
                RedisStore(self.redis_url, self.name),
                MemoryStatusRegistry(SystemClock()),
                PARTITIONS,
                sink,
            ),
            source=lambda: source,
        )
        ports = ShardPorts(connectors, Training(self.learner), self.snapshots)
        identity = ShardIdentity("shard-0", range(PARTITIONS))
        return Shard(self.spec, identity, ports), connectors, source

    async def shop(self, count: int) -> None:
        """Show each user an item, which they order at once; now and then a broken record."""
        for _ in range(count):
            number, self.written = self.written, self.written + 1
            who, now = f"u{number % USERS}", self.clock.now_ms()
            shown = impression(self.spec, who, [number + 1], 0, number)
            at = msgspec.msgpack.decode(shown)
            at[2] = now
            ordered = Event(f"e{number}", who, "order", number + 1, 1.0, now)
            self.sink.send_nowait(self.topics[1], who.encode(), msgspec.msgpack.encode(at))
            await self.sink.send(self.topics[0], who.encode(), msgspec.json.encode(ordered))
        await self.sink.send(self.topics[0], b"u0", b"{broken")

    def stored(self) -> dict[str, bytes]:
        """The rows in Redis, by table and entity."""
        (table,) = self.spec.plan.tables
        names = [f"u{n}" for n in range(USERS)]
        with redis.Redis.from_url(self.redis_url) as client:
            rows = client.mget([f"{self.name}::".encode() + table.row_key(name) for name in names])
        found = zip(names, rows, strict=True)
        return {f"{table.name}/{name}": row for name, row in found if row is not None}


# Seconds between two looks: some read all rows from Redis.
until = partial(wait_for, seconds=PATIENCE_S, interval_s=0.02)


async def is_well(shard: Shard) -> bool:
    return (await shard.status())["health"] == {}


def test_rows_and_examples_survive_a_stop_a_kill_and_an_emptied_store(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = ClusterSpec(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)

    async def life(count: int, end: Callable[[Shard], Awaitable[None]]) -> None:
        shard, connectors, source = await cluster.shard()
        running = asyncio.create_task(shard.run())
        await cluster.shop(count)
        await until(lambda: len(cluster.learner.examples()) == cluster.written, running=running)
        await until(lambda: cluster.stored() == features(shard), running=running)
        # On a busy machine an answer may be late, which it tells until the next one comes.
        await polled(partial(is_well, shard), PATIENCE_S, "shard-0", "it is not well")
        assert not running.done()
        await end(shard)
        running.cancel()  # which is what a kill is; after a stop it has ended
        await asyncio.gather(running, return_exceptions=True)
        await source.stop()
        await connectors.close()

    async def test() -> None:
        await cluster.start()
        await life(50, Shard.stop)
        await cluster.shop(30)  # while nobody reads
        await life(20, kill)
        cluster.learner.checkpoint()
        await cluster.shop(10)
        await life(40, flush)
        await cluster.sink.stop()

    async def kill(shard: Shard) -> None:
        """Nothing is given away or written down."""

    async def flush(shard: Shard) -> None:
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        await until(lambda: cluster.stored() == features(shard))
        assert set(cluster.learner.examples().values()) == {1}
        assert sum(state.counters.dead for state in shard.states.values()) >= 5
        await shard.stop()

    asyncio.run(test())


def test_a_forgotten_user_is_in_no_row_and_in_no_file(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = ClusterSpec(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)
    who, topic = "ada-who-wants-to-be-forgotten", cluster.topics[0]
    service = ReplicaUnderTest().service
    stream = replace(service.pipeline.streams[0], topic=topic)
    pipeline = replace(service.pipeline, streams=[stream])
    forgetter = EntityForgetter(pipeline, cluster.sink, service.reader)

    def has(path: Path) -> bool:
        with contextlib.suppress(FileNotFoundError):  # the shard writes and removes them meanwhile
            return who.encode() in path.read_bytes()
        return False

    def files() -> int:
        return sum(has(path) for path in tmp_path.rglob("*.*"))

    async def no_files() -> bool:
        if files():  # older files go, one with each snapshot, and there are some with records
            await cluster.shop(USERS)
        return not files()

    def rows() -> int:
        with redis.Redis.from_url(redis_url) as client:
            return sum(1 for _ in client.scan_iter(f"{fresh_name}*{who}*", count=1_000))

    async def test() -> None:
        await cluster.start()
        shard, connectors, source = await cluster.shard()
        running = asyncio.create_task(shard.run())
        await cluster.shop(USERS)
        event = Event("ada-1", who, "view", 1, 1.0, cluster.clock.now_ms())
        await cluster.sink.send(topic, who.encode(), msgspec.json.encode(event))
        await until(lambda: rows() and files())
        (place,) = (await forgetter.forget("user", who)).positions
        written = await read_one(cluster.kafka, place)
        assert (written.keys, written.values) == ([who.encode()], [None])
        await until(lambda: not rows())
        await polled(no_files, PATIENCE_S, "shard-0", "a file has the user", interval_s=0.2)
        await until(lambda: cluster.learner.forgotten() == {*cluster.spec.identity_ids([who])})
        await until(lambda: cluster.stored() == features(shard))
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await source.stop()
        await connectors.close()
        await cluster.sink.stop()

    asyncio.run(test())


async def read_one(kafka: KafkaAccess, place: Position) -> RecordBatch:
    source = KafkaSource(kafka)
    await source.start({(place.topic, place.partition): place.offset})
    try:
        batches: list[RecordBatch] = []
        while not batches:
            batches = await source.poll(1, 1.0)
        return batches[0]
    finally:
        await source.stop()
