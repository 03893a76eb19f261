"""A catalogue of items on Kafka and Redis: candidates take its fields by their key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiokafka
import httpx
import msgspec
import pytest
from in_process import KafkaSources, killed_at_the_end, replica_client
from shard_world import until

from freshrank import (
    Adagrad,
    Count,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Table,
    col,
)
from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import ConfigError
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.external import TopicPartitions, prepare_topics
from freshrank.deploy.wiring import assembly
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.shard import Shard

ITEM_PARTITIONS = 2


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    ts: int


class Product(msgspec.Struct):
    item: int
    category: str
    price: float


def pipeline_of(name: str) -> Pipeline:
    user, item = Entity("user", key="user"), Entity("item", key="item")
    clicks = Stream(f"{name}.clicks", id="id", time="ts", key=user, schema=Click)
    catalogue = Table(f"{name}.catalogue", key=item, schema=Product)

    class Clicks(FeatureView):
        entity, source = user, clicks
        clicked = Count(windows=["1h"])

    class Popularity(FeatureView):
        entity, source = item, clicks
        popular = Count(windows=["1h"])

    return Pipeline(
        name,
        stream=clicks,
        tables=[catalogue],
        features=[Clicks, Popularity],
        context=["item", catalogue.category, catalogue.price],
        label=Joined(positive=col.item > 0, on="item", within="1m"),
        model=LogisticRegression(),
        optimizer=Adagrad(),
    )


class Cluster:
    """The shards of items and a replica in this process, between Kafka, Redis and a folder."""

    def __init__(self, kafka: KafkaAccess, redis_url: str, name: str, folder: Path) -> None:
        self.pipeline = pipeline_of(name)
        self.kafka, self._redis_url, self._folder = kafka, redis_url, folder
        self._counts = TopicPartitions(0, {})

    async def prepare(self) -> None:
        """The catalogue has been there, with partitions of its own number."""
        topics = [table.topic for table in self.pipeline.tables]
        await ensure_topics(self.kafka, topics, ITEM_PARTITIONS, compacted=True)
        self._counts = await prepare_topics(self.pipeline, self.kafka, Settings())

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[Shard]:
        """A shard of all partitions, which is killed at the end."""
        sources = KafkaSources(self.kafka)
        connectors = replace(await self.connectors(), source=sources)
        around = assembly.ShardSurroundings(
            0,
            ShardSettings(snapshot_interval_s=0.3),
            connectors,
            lambda folder: FileSnapshots(self._folder / folder),
        )
        (shard,) = assembly.candidate_shards(self.pipeline, around)
        loops = [shard.run(), *(rekeyer.run() for rekeyer in shard.rekeyers)]
        async with killed_at_the_end(loops, sources, connectors):
            yield shard

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Speaks to a replica."""
        async with replica_client(self.pipeline, await self.connectors()) as client:
            yield client

    async def connectors(self) -> Connectors:
        sink = KafkaSink(self.kafka, self.pipeline.partitioners)
        await sink.start()
        store = RedisStore(self._redis_url, self.pipeline.name)
        statuses, others = MemoryStatusRegistry(SystemClock()), self._counts.candidates
        # No shard of users runs, whose partitions would count as not filled yet.
        return kafka_and_redis(self.kafka, store, statuses, 0, sink, others)


def test_rows_of_a_table_reach_the_candidates_whoever_crashes(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = Cluster(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)
    topic = f"{fresh_name}.catalogue"

    async def write(rows: dict[int, bytes | None]) -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        try:
            for item, value in rows.items():
                await (await producer.send(topic, value, key=b"%d" % item))
        finally:
            await producer.stop()

    async def test() -> None:
        await cluster.prepare()
        async with cluster.client() as client:

            async def prices() -> list[float | None]:
                answers = [await client.get(f"/v1/features/item/{item}") for item in (1, 2, 3)]
                return [answer.json()["features"]["price"] for answer in answers]

            async def missing() -> Any:
                body = {"user": "ann", "candidates": [{"item": item} for item in (3, 2, 1)]}
                answer = (await client.post("/v1/score", json=body)).json()
                return answer["candidate_rows"][topic]["missing"]

            async with cluster.shard():
                await write({1: product(1, 10.0), 2: product(2, 20.0)})
                await until(prices, [10.0, 20.0, None])
                await asyncio.sleep(0.4)  # a snapshot is written
            await write({1: None, 2: product(2, 25.0), 3: product(3, 30.0)})
            async with cluster.shard() as shard:
                await until(prices, [None, 25.0, 30.0])
                await until(missing, [2])
                topics = {state.spec.topics for state in shard.states.values()}
                assert topics == {(f"{fresh_name}.clicks.by_item", topic)}
                assert len(shard.states) == ITEM_PARTITIONS
                await write({3: b'{"item": 4}'})
                await until(lambda: rejected(shard), 1)
                assert await prices() == [None, 25.0, 30.0]

    asyncio.run(test())


async def rejected(shard: Shard) -> int:
    return sum(state.counters.dead_table_rows for state in shard.states.values())


def product(item: int, price: float) -> bytes:
    return msgspec.json.encode(Product(item, "hats", price))


def test_events_of_users_reach_the_features_of_items_once_whoever_crashes(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = Cluster(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)
    now_ms = SystemClock().now_ms()

    async def click(sink: KafkaSink, users: int, first: int) -> None:
        for number in range(users):
            event = Click(f"e{first + number}", f"u{number}", 1 + number % 2, now_ms)
            key, value = event.user.encode(), msgspec.json.encode(event)
            await sink.send(f"{fresh_name}.clicks", key, value)

    async def test() -> None:
        await cluster.prepare()
        connectors = await cluster.connectors()
        sink = connectors.sink
        assert isinstance(sink, KafkaSink)
        async with cluster.client() as client:

            async def clicks() -> list[float]:
                answers = [await client.get(f"/v1/features/item/{item}") for item in (1, 2)]
                return [answer.json()["features"]["popular_1h"] for answer in answers]

            async with cluster.shard():
                await click(sink, 20, first=0)
                await until(clicks, [10.0, 10.0])
                await asyncio.sleep(0.4)  # a snapshot is written
                await click(sink, 20, first=0)  # sent again: duplicates
                await click(sink, 3, first=100)
            async with cluster.shard() as shard:
                await click(sink, 1, first=200)
                await until(clicks, [13.0, 11.0])
                counters = [state.counters for state in shard.states.values()]
                assert sum(counter.duplicates for counter in counters) == 20
        await connectors.close()

    asyncio.run(test())


def test_tables_of_one_entity_have_one_number_of_partitions(kafka: Broker, fresh_name: str) -> None:
    access, pipeline = KafkaAccess(kafka.bootstrap), pipeline_of(fresh_name)
    (catalogue,) = pipeline.tables
    stock = Table(f"{fresh_name}.stock", key=catalogue.key, schema=Product)
    both = replace(
        pipeline,
        tables=[catalogue, stock],
        context=["item", catalogue.category, stock.price],
    )

    async def test() -> None:
        await ensure_topics(access, [catalogue.topic], 2, compacted=True)
        await ensure_topics(access, [stock.topic], 3, compacted=True)
        with pytest.raises(ConfigError, match=r"has 3 partitions and .* has 2"):
            await prepare_topics(both, access, Settings())

    asyncio.run(test())


def test_a_table_whose_topic_deletes_rows_is_refused(kafka: Broker, fresh_name: str) -> None:
    access, pipeline = KafkaAccess(kafka.bootstrap), pipeline_of(fresh_name)
    (catalogue,) = pipeline.tables

    async def test() -> None:
        await ensure_topics(access, [catalogue.topic], 2)
        with pytest.raises(ConfigError, match=r"cleanup\.policy=delete, retention\.ms=") as refused:
            await prepare_topics(pipeline, access, Settings())
        assert f"--entity-name {catalogue.topic} --add-config" in refused.value.fix

    asyncio.run(test())
