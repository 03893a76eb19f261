"""A topic with another number of partitions, other keys and none, on a real Kafka and Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from in_process import KafkaSources, killed_at_the_end, replica_client
from shard_world import FakeLearner, until

from freshrank import (
    Adagrad,
    Count,
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.external import prepare_topics, side_topics
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard

SOURCE_PARTITIONS, PARTITIONS = 5, 3
STATE = "1f"
# The source of a setting of a topic that is its own (DescribeConfigs, DYNAMIC_TOPIC_CONFIG).
OF_THE_TOPIC = 1
USERS = [f"u{number}" for number in range(8)]


class Order(msgspec.Struct):
    number: int
    user: str
    total: float
    at: int


def pipeline_of(name: str) -> Pipeline:
    user = Entity("user", key="user")
    topic = f"{name}.orders"
    orders = Stream(topic, id="number", time="at", key=user, schema=Order, partitioner="any")

    class Orders(FeatureView):
        entity, source = user, orders
        orders_ = Count(windows=["1h"])
        spent = Sum("total", windows=["1h"])

    return Pipeline(
        name,
        stream=orders,
        features=[Orders],
        context=[],
        label=Labelled(positive=col.total > 4),
        model=LogisticRegression(),
        optimizer=Adagrad(),
    )


class Cluster:
    """A shard with its re-keyer and a replica, between Kafka, Redis and a folder."""

    def __init__(self, kafka: KafkaAccess, redis_url: str, name: str, folder: Path) -> None:
        self.pipeline = pipeline_of(name)
        self.learner = FakeLearner()
        self.sent: list[Order] = []
        self._kafka, self._redis_url, self._folder = kafka, redis_url, folder

    async def create_topics(self) -> None:
        await ensure_topics(self._kafka, self.pipeline.rekeyed_topics, SOURCE_PARTITIONS)
        others = [*self.pipeline.topics, *side_topics(self.pipeline)]
        await ensure_topics(self._kafka, others, PARTITIONS)

    async def send(self, count: int, producer: AIOKafkaProducer) -> None:
        """Send orders: by CRC-32 of the user, and each third without a key, anywhere."""
        for _ in range(count):
            number = len(self.sent)
            order = Order(number, USERS[number % 8], number % 7, SystemClock().now_ms())
            key, partition = order.user.encode(), number % SOURCE_PARTITIONS
            if number % 3:
                partition = partition_of(key, SOURCE_PARTITIONS, Partitioner.CRC32)
            await producer.send(
                self.pipeline.stream.topic,
                msgspec.json.encode(order),
                key if number % 3 else None,
                partition,
            )
            self.sent.append(order)
        await producer.flush()

    def right(self) -> dict[str, tuple[float, float]]:
        """By user: the number of orders, and what they cost."""
        orders = {user: [one.total for one in self.sent if one.user == user] for user in USERS}
        return {user: (len(totals), sum(totals)) for user, totals in orders.items()}

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[Shard]:
        """A shard of all partitions, which is killed with its re-keyer at the end."""
        sources = KafkaSources(self._kafka)
        connectors = replace(await self._connectors(), source=sources)
        stream, progress = self.pipeline.stream, FileSnapshots(self._folder / "rekeying")
        rekeyer = Rekeyer(stream, range(PARTITIONS), STATE, connectors, progress)
        snapshots, training = FileSnapshots(self._folder / "shards"), Training(self.learner)
        shard = Shard(
            self.pipeline.spec(ShardSettings(snapshot_interval_s=0.3), STATE),
            ShardIdentity("shard-0", range(PARTITIONS)),
            ShardPorts(connectors, training, snapshots, rekeyers=[rekeyer]),
        )
        loops = [shard.run(), rekeyer.run()]
        async with killed_at_the_end(loops, sources, connectors):
            yield shard

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Speaks to a replica."""
        async with replica_client(self.pipeline, await self._connectors()) as client:
            yield client

    async def _connectors(self) -> Connectors:
        sink = KafkaSink(self._kafka, self.pipeline.partitioners)
        await sink.start()
        store = RedisStore(self._redis_url, self.pipeline.name)
        statuses = MemoryStatusRegistry(SystemClock())
        return kafka_and_redis(self._kafka, store, statuses, PARTITIONS, sink)


@asynccontextmanager
async def producer_to(kafka: Broker) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def settings_of(kafka: Broker, topic: str) -> dict[str, tuple[str, bool]]:
    """By name: the setting of a topic, and whether it was set for this topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    await admin.close()
    (_, _, _, _, entries) = answer.resources[0]
    return {name: (value, source == OF_THE_TOPIC) for name, value, _, source, *_ in entries}


def test_the_topic_of_the_copies_has_the_brokers_time_and_its_retention(
    kafka: Broker, fresh_name: str
) -> None:
    pipeline = pipeline_of(fresh_name)
    stream, access = pipeline.stream, KafkaAccess(kafka.bootstrap)
    assert stream.log_topic == f"{stream.topic}.by_user"

    async def test() -> None:
        await ensure_topics(access, [stream.topic], SOURCE_PARTITIONS)
        counts = await prepare_topics(pipeline, access, Settings())
        assert counts.stream == Settings().kafka.partitions
        settings = await settings_of(kafka, stream.log_topic)
        assert settings["message.timestamp.type"] == ("LogAppendTime", True)
        for name in ("retention.ms", "retention.bytes", "cleanup.policy", "segment.bytes"):
            assert not settings[name][1], name
        assert settings["cleanup.policy"][0] == "delete"
        assert settings["retention.ms"][0] == str(7 * 24 * 3_600_000)

    asyncio.run(test())


def test_records_in_any_partition_reach_the_features_once_whoever_crashes(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = Cluster(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)
    topic = cluster.pipeline.stream.topic

    async def features(client: httpx.AsyncClient) -> dict[str, tuple[float, float]]:
        found = {}
        for user in USERS:
            row = (await client.get(f"/v1/features/user/{user}")).json()["features"]
            found[user] = row["orders__1h"], row["spent_1h"]
        return found

    async def test() -> None:
        await cluster.create_topics()
        async with cluster.client() as client, producer_to(kafka) as producer:
            async with cluster.shard():
                await cluster.send(200, producer)
                await until(lambda: features(client), cluster.right())
                await (await producer.send(topic, b"{broken", None, 4))
                await cluster.send(300, producer)
            await cluster.send(100, producer)  # while no shard reads
            async with cluster.shard() as shard:
                posted = Order(len(cluster.sent), "u1", 4.5, SystemClock().now_ms())
                body = msgspec.json.encode([posted])
                answer = await client.post("/v1/events", content=body)
                assert answer.status_code == 200, answer.text
                assert answer.json()["positions"][0]["topic"] == topic
                cluster.sent.append(posted)
                await until(lambda: features(client), cluster.right())

                async def learned() -> int:
                    return cluster.learner.examples().total()

                await until(learned, len(cluster.sent))
                assert set(cluster.learner.examples().values()) == {1}
                counters = [state.counters for state in shard.states.values()]
                assert sum(counter.events for counter in counters) == len(cluster.sent)
                assert sum(counter.dead for counter in counters) == 1
                status = await shard.status()
                assert status["not_ready"] == {} and status["copied"]
            answer = await client.get("/v1/entities/user/u1/events?limit=100")
            found = Counter(event["event"]["number"] for event in answer.json()["events"])
            assert found == Counter(one.number for one in cluster.sent if one.user == "u1")
            assert {event["topic"] for event in answer.json()["events"]} == {topic}

    asyncio.run(test())
