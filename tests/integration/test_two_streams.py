"""A pipeline with two streams on a real Kafka and Redis: posted by REST, read as features."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
from in_process import KafkaSources, killed_at_the_end, replica_client
from shard_world import FakeLearner, until

from freshrank import (
    Adagrad,
    Count,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.external import side_topics
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard

PARTITIONS = 3


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    ts: int


class Order(msgspec.Struct):
    number: int
    customer: str
    total: float
    at: int


def pipeline_of(name: str) -> Pipeline:
    """Clicks and orders of users, in topics that begin with `name`."""
    user, customer = Entity("user", key="user"), Entity("user", key="customer")
    clicks = Stream(f"{name}.clicks", id="id", time="ts", key=user, schema=Click)
    orders = Stream(f"{name}.orders", id="number", time="at", key=customer, schema=Order)

    class Clicks(FeatureView):
        entity, source = user, clicks
        clicked = Count(windows=["1h"])

    class Orders(FeatureView):
        entity, source = customer, orders
        spent = Sum("total", windows=["1h"])

    return Pipeline(
        name,
        streams=[clicks, orders],
        features=[Clicks, Orders],
        context=["item"],
        label=Joined(positive=col.item > 0, on="item", within="1m"),
        model=LogisticRegression(),
        optimizer=Adagrad(),
    )


class Cluster:
    """A shard and a replica in this process, between Kafka, Redis and a folder of snapshots."""

    def __init__(self, kafka: KafkaAccess, redis_url: str, name: str, folder: Path) -> None:
        self.pipeline = pipeline_of(name)
        self._kafka, self._redis_url = kafka, redis_url
        self._learner, self._snapshots = FakeLearner(), FileSnapshots(folder)

    async def create_topics(self) -> None:
        topics = [*self.pipeline.topics, *side_topics(self.pipeline)]
        await ensure_topics(self._kafka, topics, PARTITIONS)

    @asynccontextmanager
    async def shard(self) -> AsyncIterator[Shard]:
        """A shard of all partitions, which is killed at the end."""
        sources = KafkaSources(self._kafka)
        connectors = replace(await self._connectors(), source=sources)
        ports = ShardPorts(connectors, Training(self._learner), self._snapshots)
        spec = self.pipeline.spec(ShardSettings(snapshot_interval_s=0.3))
        shard = Shard(spec, ShardIdentity("shard-0", range(PARTITIONS)), ports)
        loops = [shard.run()]
        async with killed_at_the_end(loops, sources, connectors):
            yield shard

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Speaks to a replica."""
        async with replica_client(self.pipeline, await self._connectors()) as client:
            yield client

    async def _connectors(self) -> Connectors:
        sink = KafkaSink(self._kafka)
        await sink.start()
        store = RedisStore(self._redis_url, self.pipeline.name)
        statuses = MemoryStatusRegistry(SystemClock())
        return kafka_and_redis(self._kafka, store, statuses, PARTITIONS, sink)


def test_events_of_both_streams_reach_the_features_once_whoever_crashes(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    cluster = Cluster(KafkaAccess(kafka.bootstrap), redis_url, fresh_name, tmp_path)
    now_ms = SystemClock().now_ms()

    async def post(client: httpx.AsyncClient, stream: str, *events: object) -> list[Any]:
        topic = f"{fresh_name}.{stream}"
        body = msgspec.json.encode(events)
        answer = await client.post("/v1/events", params={"stream": topic}, content=body)
        assert answer.status_code == 200, answer.text
        positions: list[Any] = answer.json()["positions"]
        assert {position["topic"] for position in positions} == {topic}
        return positions

    async def features(client: httpx.AsyncClient) -> tuple[float, float]:
        answer = (await client.get("/v1/features/user/ann")).json()["features"]
        return answer["clicked_1h"], answer["spent_1h"]

    async def test() -> None:
        await cluster.create_topics()
        async with cluster.client() as client:
            async with cluster.shard():
                (click,) = await post(client, "clicks", Click("a", "ann", 1, now_ms))
                (order,) = await post(client, "orders", Order(1, "ann", 2.5, now_ms))
                assert click["partition"] == order["partition"], "both are keyed by the user"
                own = {one["topic"]: one["offset"] for one in (click, order)}
                request = {"user": "ann", "candidates": [{"item": 1}], "timeout_ms": 10_000}
                answer = await client.post("/v1/score", json=request | {"min_offsets": own})
                assert answer.status_code == 200, answer.text
                assert await features(client) == (1.0, 2.5), "a request reads its own events"
                again = Order(1, "ann", 2.5, now_ms), Order(2, "ann", 4.0, now_ms)
                await post(client, "orders", *again, Order(3, "bob", 8.0, now_ms))
                await until(lambda: features(client), (1.0, 6.5))
            await post(client, "orders", Order(4, "ann", 16.0, now_ms))  # while no shard reads
            await post(client, "clicks", Click("b", "ann", 1, now_ms))
            async with cluster.shard() as shard:
                await until(lambda: features(client), (2.0, 22.5))
                counters = [state.counters for state in shard.states.values()]
                assert sum(counter.events for counter in counters) == 6
                assert sum(counter.duplicates for counter in counters) == 1
            answer = await client.get("/v1/entities/user/ann/events?limit=9")
            found = [event["event"] for event in answer.json()["events"]]
            assert sorted(event.get("number", 0) for event in found) == [0, 0, 1, 1, 2, 4]
            answer = await client.post("/v1/events", json={"user": "ann"})
            assert answer.status_code == 422
            assert f"name '{fresh_name}.clicks' or '{fresh_name}.orders'" in answer.text

    asyncio.run(test())
