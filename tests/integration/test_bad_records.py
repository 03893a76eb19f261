"""Records that nobody should send, through a real Kafka: none stops a shard, none vanishes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiokafka
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from shard_world import FakeLearner

from freshrank.actors.clock import SystemClock
from freshrank.actors.records import RejectedRecord
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.benchmarks.fuzz.impressions import impressions
from freshrank.benchmarks.fuzz.records import LARGE, events
from freshrank.benchmarks.workloads.record_accounting import (
    Disposition,
    RecordPosition,
    SentRecord,
    fuzz_pipeline,
    unaccounted,
)
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.servers.external import side_topics
from freshrank.feature_actors.connectors.in_memory.stores import MemoryStatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.actor import FeatureShard
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard
from freshrank.feature_actors.shard.status import totals

PARTITIONS = 3
# Seconds: ten times what it takes on two busy cores.
PATIENCE_S = 120.0
# Of a side topic that takes less than a record may have, in bytes.
NARROW = 20_000


async def make(bootstrap: str, topic: str, largest: int) -> None:
    """Make a topic for records of up to `largest` bytes."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    configs = {"max.message.bytes": str(largest)}
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=configs)])
    await admin.close()


async def send(
    bootstrap: str, topic: str, records: Sequence[SentRecord]
) -> dict[RecordPosition, SentRecord]:
    """Write all, in order; gives where each lies."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=bootstrap, max_request_size=2 * LARGE, max_batch_size=2 * LARGE
    )
    await producer.start()
    written = [await producer.send(topic, one.value, key=one.key) for one in records]
    places = await asyncio.gather(*written)
    await producer.stop()
    return {
        (topic, place.partition, place.offset): one
        for place, one in zip(places, records, strict=True)
    }


async def side_records(bootstrap: str, topics: Sequence[str]) -> list[tuple[str, RejectedRecord]]:
    """What lies in the side topics, with reason and origin."""
    consumer = aiokafka.AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    parts = [aiokafka.TopicPartition(topic, one) for topic in topics for one in range(PARTITIONS)]
    consumer.assign(parts)
    for part in parts:
        consumer.seek(part, 0)
    wanted = sum((await consumer.end_offsets(parts)).values())
    found: list[tuple[str, RejectedRecord]] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(found) < wanted:
            for part, records in (await consumer.getmany(timeout_ms=200)).items():
                for one in records:
                    told = {name: value.decode() for name, value in one.headers}
                    place = told["topic"], int(told["partition"]), int(told["offset"])
                    found.append((part.topic, RejectedRecord(*place, told["reason"], one.value)))
    await consumer.stop()
    return found


def useless_topics(made: Pipeline) -> list[str]:
    return [topic for topic in side_topics(made) if topic.endswith((".dead", ".late"))]


class CountingSink(KafkaSink):
    """Counts the rejected records that are written."""

    rejected = 0

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        await super().reject(suffix, records)
        self.rejected += len(records)


async def read_all(
    made: Pipeline, kafka: KafkaAccess, redis_url: str, folder: Path, records: int
) -> Mapping[str, int]:
    """Run a shard until it has read so many records; gives its counters."""
    sink = CountingSink(kafka)
    await sink.start()
    statuses = MemoryStatusRegistry(SystemClock())
    store = RedisStore(redis_url, made.name)
    connectors = kafka_and_redis(kafka, store, statuses, PARTITIONS, sink)
    shard = Shard(
        made.spec(ShardSettings(snapshot_interval_s=0.5)),
        ShardIdentity("shard-0", range(PARTITIONS)),
        ShardPorts(connectors, Training(FakeLearner()), FileSnapshots(folder)),
    )
    actor = FeatureShard(shard)
    try:
        await actor.start()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                # Of the first hundred records more may be misplaced than of all: it says so then.
                health = (await actor.status())["health"]  # raises what stopped it
                if not health and _done(shard, sink, records):
                    break
                await asyncio.sleep(0.1)
        return {name: int(str(value)) for name, value in totals(shard.states).items()}
    finally:
        await actor.stop()
        await connectors.close()


def _done(shard: Shard, sink: CountingSink, records: int) -> bool:
    """Whether it has read so many, and all that it rejected is written."""
    read = sum(sum(state.offsets.values()) for state in shard.states.values())
    counters = [state.counters for state in shard.states.values()]
    return read >= records and sink.rejected == sum(one.dead + one.late for one in counters)


def test_every_record_is_taken_by_a_rule_or_lies_in_a_side_topic_with_reason_and_origin(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    made = fuzz_pipeline(fresh_name.lower(), f"{fresh_name}.readings")
    bootstrap, now_ms = kafka.bootstrap, SystemClock().now_ms()

    async def story() -> None:
        for topic in made.topics:
            await make(bootstrap, topic, 2 * LARGE)
        await ensure_topics(KafkaAccess(bootstrap), side_topics(made), PARTITIONS)
        sent = await send(bootstrap, made.topics[0], events(11, now_ms, rounds=2))
        shown = impressions(made, 11, now_ms, rounds=2)
        large = b"\xd9" + LARGE.to_bytes(4, "big") + b"x" * LARGE
        shown.append(SentRecord("ten megabytes", b"u1", large, Disposition.DEAD))
        sent |= await send(bootstrap, made.topics[1], shown)
        counted = await read_all(made, KafkaAccess(bootstrap), redis_url, tmp_path, len(sent))
        rejected = await side_records(bootstrap, useless_topics(made))
        assert unaccounted(sent, counted, rejected) == []
        fates = ("events", "duplicates", "late", "dead", "impressions")
        assert all(counted[name] for name in fates), counted

    asyncio.run(story())


def test_what_a_side_topic_has_no_room_for_is_cut_until_it_has(
    kafka: Broker, redis_url: str, fresh_name: str, tmp_path: Path
) -> None:
    made = fuzz_pipeline(fresh_name.lower(), f"{fresh_name}.readings")
    bootstrap, now_ms = kafka.bootstrap, SystemClock().now_ms()

    async def story() -> None:
        await make(bootstrap, made.topics[0], 2 * LARGE)
        await make(bootstrap, f"{made.topics[0]}.dead", NARROW)
        topics = [made.topics[1], *side_topics(made)]
        await ensure_topics(KafkaAccess(bootstrap), topics, PARTITIONS)
        corpus = events(12, now_ms, large=1_500_000)
        sent = await send(bootstrap, made.topics[0], corpus)
        counted = await read_all(made, KafkaAccess(bootstrap), redis_url, tmp_path, len(sent))
        rejected = await side_records(bootstrap, useless_topics(made))
        assert unaccounted(sent, counted, rejected) == []
        assert max(len(one.value or b"") for _, one in rejected) > NARROW // 10

    asyncio.run(story())
