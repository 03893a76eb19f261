"""The batteries over a real Apache Kafka, the embedded broker and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiokafka
import aiokafka.admin
import confluent_kafka
import confluent_kafka.admin
import pytest
import redis
from batteries import (
    PATIENCE_S,
    EventSourceBattery,
    LogWorld,
    OnlineStoreBattery,
    RecordSinkBattery,
    StatusRegistryBattery,
    StoreWorld,
    read,
    values_of,
)
from source_offsets import upto

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.kernels.partitioner import Partitioner, partitions_of_texts
from freshrank.actors.protocols import EventSource, RecordSink, StatusRegistry
from freshrank.actors.runtime import ActorOptions, RemoteRole, spawn
from freshrank.deploy.cluster.status_actor import RemoteStatusRegistry, StatusActor
from freshrank.deploy.servers.brokers import Broker, EmbeddedBroker
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topic_ids import TopicIdentities
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics, partition_count
from freshrank.feature_actors.connectors.redis.online_store import RedisStore


class KafkaLogWorld:
    def __init__(self, kafka: KafkaAccess, topic: str) -> None:
        self.topic = topic
        self._kafka = kafka
        self._sinks: list[KafkaSink] = []
        self._made = False

    async def _topics(self) -> None:
        if not self._made:
            await ensure_topics(self._kafka, [self.topic, self.topic + ".dead"], 3)
            self._made = True

    async def write(self, partition: int, values: Sequence[bytes | None]) -> None:
        await self._topics()
        producer = aiokafka.AIOKafkaProducer(**self._kafka.arguments())
        await producer.start()
        try:
            for value in values:
                await producer.send(self.topic, value, key=b"any", partition=partition)
        finally:
            await producer.stop()

    async def delete(self, partition: int, before: int) -> None:
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self._kafka.bootstrap})
        place = confluent_kafka.TopicPartition(self.topic, partition, before)
        for deleted in admin.delete_records([place]).values():
            deleted.result()

    async def contents(self, topic: str) -> list[tuple[bytes | None, dict[str, bytes]]]:
        consumer = aiokafka.AIOKafkaConsumer(**self._kafka.arguments())
        await consumer.start()
        parts = [
            aiokafka.TopicPartition(topic, one)
            for one in range(await partition_count(self._kafka, topic))
        ]
        consumer.assign(parts)
        for part in parts:
            consumer.seek(part, 0)
        wanted = sum((await consumer.end_offsets(parts)).values())
        found: list[tuple[bytes | None, dict[str, bytes]]] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(found) < wanted:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [(record.value, dict(record.headers)) for record in records]
        await consumer.stop()
        return found

    async def source(self) -> EventSource:
        await self._topics()
        return KafkaSource(self._kafka)

    async def sink(self) -> RecordSink:
        await self._topics()
        self._sinks.append(KafkaSink(self._kafka))
        await self._sinks[-1].start()
        return self._sinks[-1]

    async def close(self) -> None:
        for sink in self._sinks:
            await sink.stop()
            await sink.stop()


class TestKafkaSource(EventSourceBattery):
    @pytest.fixture
    def world(self, kafka: Broker, fresh_name: str) -> LogWorld:
        return KafkaLogWorld(KafkaAccess(kafka.bootstrap), fresh_name)

    def test_a_topic_shorter_than_what_was_read_is_refused(
        self, kafka: Broker, fresh_name: str
    ) -> None:
        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            await ensure_topics(access, [fresh_name], 1)
            with pytest.raises(ConfigError, match="ends at offset 0, but records up to 5"):
                await KafkaSource(access).start({(fresh_name, 0): 5})

        asyncio.run(test())

    @pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
    def test_records_of_other_clients_are_read_however_they_are_compressed(
        self, kafka: Broker, fresh_name: str, codec: str
    ) -> None:
        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            await ensure_topics(access, [fresh_name], 1)
            written = [b"%d " % number * 100 for number in range(500)]
            producer = confluent_kafka.Producer(
                {
                    "bootstrap.servers": kafka.bootstrap,
                    "compression.type": codec,
                    "linger.ms": 100,
                }
            )
            for value in written:
                producer.produce(fresh_name, value, key=b"any", partition=0)
            assert producer.flush(PATIENCE_S) == 0
            source = KafkaSource(access)
            await source.start({(fresh_name, 0): None})
            assert values_of(await read(source, len(written)), 0) == written
            await source.stop()

        asyncio.run(test())

    @pytest.mark.parametrize("partitioner", list(Partitioner))
    def test_records_lie_where_the_client_of_that_partitioner_puts_them(
        self, kafka: Broker, fresh_name: str, partitioner: Partitioner
    ) -> None:
        named = {Partitioner.CRC32: "consistent_random", Partitioner.MURMUR2: "murmur2_random"}

        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            await ensure_topics(access, [fresh_name], 5)
            keys = [*(f"user-{number}" for number in range(60)), "ü", "a key " * 40]
            producer = confluent_kafka.Producer(
                {"bootstrap.servers": kafka.bootstrap, "partitioner": named[partitioner]}
            )
            for key in keys:
                producer.produce(fresh_name, key.encode(), key=key.encode())
            assert producer.flush(PATIENCE_S) == 0
            sink = KafkaSink(access, {fresh_name: partitioner})
            await sink.start()
            ours = [(await sink.send(fresh_name, key.encode(), b"?"))[0] for key in keys]
            await sink.stop()
            source = KafkaSource(access)
            await source.start({(fresh_name, partition): None for partition in range(5)})
            batches = await read(source, 2 * len(keys))
            theirs = {
                value: one.partition for one in batches for value in one.values if value != b"?"
            }
            await source.stop()
            assert ours == [theirs[key.encode()] for key in keys]
            assert ours == partitions_of_texts(keys, 5, partitioner).tolist()

        asyncio.run(test())

    def test_a_topic_that_is_created_again_has_another_identity(
        self, kafka: Broker, fresh_name: str
    ) -> None:
        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            await ensure_topics(access, [fresh_name], 2)
            identities = TopicIdentities(access)
            before = await identities.read([fresh_name, "there-is-no-such-topic"])
            assert before.keys() == {fresh_name}
            assert before[fresh_name].partitions == 2
            assert before == await identities.read([fresh_name])
            admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": kafka.bootstrap})
            admin.delete_topics([fresh_name])[fresh_name].result()
            async with asyncio.timeout(PATIENCE_S):
                while await identities.read([fresh_name]):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
                await ensure_topics(access, [fresh_name], 2)
            after = await identities.read([fresh_name])
            assert after[fresh_name].id not in ("", before[fresh_name].id)
            await identities.close()
            await identities.close()

        asyncio.run(test())

    def test_the_markers_of_a_transaction_are_no_lag(self, kafka: Broker, fresh_name: str) -> None:
        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            await ensure_topics(access, [fresh_name], 1)
            producer = aiokafka.AIOKafkaProducer(transactional_id=fresh_name, **access.arguments())
            await producer.start()
            async with producer.transaction():
                await producer.send(fresh_name, b"a", partition=0)
            await producer.stop()
            source = KafkaSource(access)
            await source.start({(fresh_name, 0): None})
            assert values_of(await read(source, 1), 0) == [b"a"]
            async with asyncio.timeout(PATIENCE_S):
                while await source.lag() != {(fresh_name, 0): 0}:
                    assert await source.poll(10, 0.1) == []
            await source.stop()

        asyncio.run(test())

    @pytest.mark.parametrize("stamped_by", ["LogAppendTime", "CreateTime"])
    def test_records_say_whether_the_broker_stamped_them(
        self, kafka: Broker, fresh_name: str, stamped_by: str
    ) -> None:
        async def test() -> None:
            access = KafkaAccess(kafka.bootstrap)
            if stamped_by == "LogAppendTime":
                await ensure_topics(access, [fresh_name], 1)
            else:
                await made_by_others(access, fresh_name)
            producer = aiokafka.AIOKafkaProducer(**access.arguments())
            await producer.start()
            await producer.send(fresh_name, b"early", partition=0, timestamp_ms=1_000_000)
            await producer.stop()
            source = KafkaSource(access)
            await source.start({(fresh_name, 0): None})
            (batch,) = await read(source, 1)
            await source.stop()
            assert batch.stamped_by_broker.tolist() == [stamped_by == "LogAppendTime"]
            assert (batch.timestamps_ms[0] == 1_000_000) == (stamped_by == "CreateTime")

        asyncio.run(test())


async def made_by_others(kafka: KafkaAccess, topic: str) -> None:
    """Make a topic with the broker's defaults."""
    admin = aiokafka.admin.AIOKafkaAdminClient(**kafka.arguments())
    await admin.start()
    await admin.create_topics([aiokafka.admin.NewTopic(topic, 1, 1)])
    await admin.close()


class TestKafkaSink(RecordSinkBattery):
    @pytest.fixture
    def world(self, kafka: Broker, fresh_name: str) -> LogWorld:
        return KafkaLogWorld(KafkaAccess(kafka.bootstrap), fresh_name)


@pytest.fixture(scope="module")
def embedded() -> Iterator[KafkaAccess]:
    topics = {"given": 3, "given.dead": 3}
    with EmbeddedBroker(topics) as broker:
        yield KafkaAccess(broker.bootstrap)


class TestEmbeddedBroker:
    def test_the_age_of_a_fetch_grows_while_there_is_no_broker(self) -> None:
        async def test() -> None:
            with EmbeddedBroker({"given": 2}) as broker:
                source = KafkaSource(KafkaAccess(broker.bootstrap))
                await source.start({("given", 0): None, ("given", 1): None})
                assert await source.poll(10, 0.5) == []
                before = source.fetch_age_s()
            async with asyncio.timeout(PATIENCE_S):
                while source.fetch_age_s() < before + 2.0:
                    assert await source.poll(10, 0.1) == []
            source.pause("given", 0)
            source.resume("given", 0)
            assert source.fetch_age_s() >= 2.0  # that of the other one
            source.pause("given", 1)
            assert source.fetch_age_s() < 2.0
            await source.stop()

        asyncio.run(test())

    def test_records_go_round(self, embedded: KafkaAccess) -> None:
        async def test() -> None:
            source = KafkaSource(embedded)
            given = (await source.identities(["given"]))["given"]
            assert given.id and given.partitions == 3
            await ensure_topics(embedded, ["given", "unheard-of"], 3)
            assert await partition_count(embedded, "given") == 3
            assert await partition_count(embedded, "unheard-of") >= 1
            sink = KafkaSink(embedded)
            await sink.start()
            partition, offset = await sink.send("given", b"foobar", b"value")
            await source.start({("given", partition): offset})
            batches = await source.poll(10, PATIENCE_S)
            assert [one.values for one in batches] == [[b"value"]]
            await source.stop()
            await sink.stop()

        asyncio.run(test())


def test_topics_are_made_once_with_their_partitions(kafka: Broker, fresh_name: str) -> None:
    async def test() -> None:
        access = KafkaAccess(kafka.bootstrap)
        with pytest.raises(ConfigError, match="no such topic"):
            await partition_count(access, fresh_name)
        await ensure_topics(access, [fresh_name], 5)
        await ensure_topics(access, [fresh_name, fresh_name + ".late"], 2)
        assert await partition_count(access, fresh_name) == 5
        assert await partition_count(access, fresh_name + ".late") == 2
        with pytest.raises(ConfigError, match="InvalidTopic"):
            await ensure_topics(access, ["not a name!"], 2)

    asyncio.run(test())


def test_a_broker_that_is_not_there_is_unavailable() -> None:
    nobody = KafkaAccess("127.0.0.1:1", deadline_s=2.0)

    async def test() -> None:
        with pytest.raises(Unavailable, match="kafka"):
            await ensure_topics(nobody, ["t"], 1)
        with pytest.raises(Unavailable, match="kafka"):
            await KafkaSource(nobody).start({("t", 0): None})
        with pytest.raises(Unavailable, match="kafka"):
            await KafkaSink(nobody).start()

    asyncio.run(test())


class RedisWorld:
    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._made: RedisStore | None = None
        self._namespace = namespace

    @property
    def store(self) -> RedisStore:
        if self._made is None:
            self._made = RedisStore(self._url, self._namespace)
        return self._made

    async def forget(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            client.flushdb()

    async def close(self) -> None:
        await self.store.close()
        await self.store.close()


class TestRedisStore(OnlineStoreBattery):
    @pytest.fixture
    def world(self, redis_url: str, fresh_name: str) -> Iterator[StoreWorld]:
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        yield RedisWorld(redis_url, fresh_name)

    def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        async def test() -> None:
            store = RedisStore("redis://127.0.0.1:1/0", "none", deadline_s=1.0)
            with pytest.raises(Unavailable, match="redis"):
                await store.read([b"a"])
            with pytest.raises(Unavailable, match="redis"):
                await store.claim(0, 1)

        asyncio.run(test())

    def test_a_server_that_forgot_its_scripts_is_told_them_again(
        self, redis_url: str, fresh_name: str
    ) -> None:
        async def test() -> None:
            store = RedisStore(redis_url, fresh_name)
            await store.claim(0, 1)
            with redis.Redis.from_url(redis_url) as client:
                client.script_flush()
            await store.write(0, 1, upto(1), [b"%d" % i for i in range(3_000)], b"x" * 3_000)
            assert (await store.read([b"0", b"2999"])).rows == [b"x", b"x"]
            await store.close()

        asyncio.run(test())


class TestStatusActor(StatusRegistryBattery):
    @pytest.fixture
    def make(
        self, ray_cluster: None, fresh_name: str
    ) -> Callable[[], AbstractAsyncContextManager[StatusRegistry]]:
        actor = spawn(StatusActor, ActorOptions("statuses", fresh_name))

        @asynccontextmanager
        async def status_registry() -> AsyncIterator[StatusRegistry]:
            await actor.call("ping", timeout_s=PATIENCE_S)
            yield RemoteStatusRegistry(RemoteRole("statuses", fresh_name))

        return status_registry

    def test_a_registry_without_its_actor_is_unavailable(self, ray_cluster: None) -> None:
        registry = RemoteStatusRegistry(RemoteRole("statuses", "nowhere"))
        with pytest.raises(Unavailable, match="statuses"):
            asyncio.run(registry.collect())
