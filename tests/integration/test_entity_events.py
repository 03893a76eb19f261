"""The last events of an entity, read from a real Apache Kafka."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import aiokafka
import msgspec
import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from serving import ReplicaUnderTest
from whole_system import PATIENCE_S

from freshrank.actors.errors import Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.benchmarks.polling import wait_for
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.serve.api.responses import EntityEventsAnswer
from freshrank.serve.entities.entity_events import CONNECT_TIMEOUT_S, EntityEvents

PARTITIONS = 3
PARTITION = partition_of(b"u1", PARTITIONS)


def event(user: str, number: int) -> bytes:
    return msgspec.json.encode({"user_id": user, "ts": number})


def entity_events(kafka: KafkaAccess, topic: str) -> EntityEvents:
    service = ReplicaUnderTest().service
    connectors = replace(
        service.connectors, partitions=PARTITIONS, source=partial(KafkaSource, kafka)
    )
    stream = replace(service.pipeline.streams[0], topic=topic)
    return EntityEvents(replace(service.pipeline, streams=[stream]), connectors)


def numbers(answer: EntityEventsAnswer) -> list[int]:
    return [msgspec.json.decode(one.event)["ts"] for one in answer.events]


async def write(kafka: KafkaAccess, topic: str, users: list[str]) -> list[tuple[int, int]]:
    """One event of each user, numbered, by the client that replicas write with."""
    sink = KafkaSink(kafka)
    await sink.start()
    try:
        sent = (sink.send(topic, user.encode(), event(user, i)) for i, user in enumerate(users))
        return list(await asyncio.gather(*sent))
    finally:
        await sink.stop()


def test_the_last_events_are_read_where_a_replica_writes_them(
    kafka: Broker, fresh_name: str
) -> None:
    access = KafkaAccess(kafka.bootstrap)

    async def story() -> None:
        await ensure_topics(access, [fresh_name], PARTITIONS)
        users = ["u1", "other", "u2", "u1"] + [f"user-{i}" for i in range(3_000)] + ["u1"]
        positions = await write(access, fresh_name, users)
        places = [positions[i] for i, user in enumerate(users) if user == "u1"]
        found = await entity_events(access, fresh_name).last("user", "u1", 2)
        assert numbers(found) == [3_004, 3]
        assert [(one.partition, one.offset) for one in found.events] == places[:0:-1]
        assert found.events[0].timestamp_ms >= found.events[1].timestamp_ms > 1_700_000_000_000
        (scanned,) = found.scanned
        assert scanned.begin <= places[1][1] < scanned.end
        everything = await entity_events(access, fresh_name).last("user", "u1", 200)
        assert numbers(everything) == [3_004, 3, 0]
        assert everything.scanned[0].complete

    asyncio.run(story())


def test_a_reader_joins_no_group_and_leaves_no_connection_behind(
    kafka: Broker, fresh_name: str
) -> None:
    access = KafkaAccess(kafka.bootstrap)
    port = int(kafka.bootstrap.rpartition(":")[2])

    async def groups() -> set[str]:
        admin = AIOKafkaAdminClient(**access.arguments())
        await admin.start()
        try:
            return {name for name, *_ in await admin.list_consumer_groups()}
        finally:
            await admin.close()

    async def story() -> None:
        await ensure_topics(access, [fresh_name], PARTITIONS)
        await write(access, fresh_name, ["u1"])
        before = await groups()
        # Others of this process may have connections, too.
        connected = connections_to(port)
        assert numbers(await entity_events(access, fresh_name).last("user", "u1", 20)) == [0]
        assert await groups() == before

        async def closed() -> bool:
            return connections_to(port) <= connected

        await wait_for(closed, PATIENCE_S, "the reader", "it has left a connection")

    asyncio.run(story())


def connections_to(port: int) -> set[int]:
    """The own ports of this process's open TCP connections to a port."""
    return {
        one.laddr.port
        for one in psutil.Process().net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED and one.raddr.port == port
    }


def test_a_transaction_at_the_end_of_a_partition_is_not_waited_for(
    kafka: Broker, fresh_name: str
) -> None:
    access = KafkaAccess(kafka.bootstrap)

    async def story() -> None:
        await ensure_topics(access, [fresh_name], PARTITIONS)
        producer = aiokafka.AIOKafkaProducer(transactional_id=fresh_name, **access.arguments())
        await producer.start()
        async with producer.transaction():  # its commit takes an offset after the record
            await producer.send(fresh_name, event("u1", 7), key=b"u1", partition=PARTITION)
        with pytest.raises(ZeroDivisionError):
            async with producer.transaction():
                await producer.send(fresh_name, event("u1", 8), key=b"u1", partition=PARTITION)
                raise ZeroDivisionError
        await producer.stop()
        found = await entity_events(access, fresh_name).last("user", "u1", 20)
        assert numbers(found) == [7]
        assert found.scanned[0].complete

    asyncio.run(story())


def test_a_broker_that_is_away_is_told_within_the_deadline() -> None:
    access = KafkaAccess(f"127.0.0.1:{free_port()}")

    async def story() -> None:
        async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
            with pytest.raises(Unavailable, match="kafka"):
                await entity_events(access, "behaviour").last("user", "u1", 20)

    asyncio.run(story())
