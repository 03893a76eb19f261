"""Creating topics, and reading their number of partitions and where these are at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAlreadyExistsError, for_code

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

# Replicas of a topic made here, where there are as many brokers: one may then fail.
_REPLICAS = 3
# The broker's clock stamps the records of topics made here: no producer's clock has to be trusted.
_CONFIGS = {"message.timestamp.type": "LogAppendTime"}
# A table's topic keeps the latest record of each key for ever.
_COMPACTED = {"cleanup.policy": "compact"}
# Seconds between two polls for a topic that was just created.
_POLL_S = 0.05


async def ensure_topics(
    kafka: KafkaAccess, topics: Sequence[str], partitions: int, *, compacted: bool = False
) -> None:
    """Create the missing ones of `topics`, which may repeat, and wait until all can be used.

    Raises Unavailable, or ConfigError when the broker refuses a name.
    """
    async with _metadata(kafka) as client:
        known = await client.fetch_all_metadata()
        wanted = dict.fromkeys(topics)  # a broker refuses a topic that a request names twice
        missing = [topic for topic in wanted if known.partitions_for_topic(topic) is None]
        if missing and client.cluster.controller is not None:
            replicas = min(_REPLICAS, len(known.brokers()))
            configs = _CONFIGS | (_COMPACTED if compacted else {})
            topics_to_make = [
                NewTopic(topic, partitions, replicas, topic_configs=configs) for topic in missing
            ]
            await _create(kafka, topics_to_make)
        while missing:
            # A broker without a controller has no admin interface (librdkafka's mock): there
            # a topic appears, with the broker's own number of partitions, when asked for.
            await client.set_topics(missing)
            known = await client.fetch_all_metadata()
            missing = [topic for topic in missing if known.partitions_for_topic(topic) is None]
            if missing:
                await asyncio.sleep(_POLL_S)


async def partition_count(kafka: KafkaAccess, topic: str) -> int:
    """The partitions of `topic`. Raises Unavailable, or ConfigError where it is missing."""
    async with _metadata(kafka) as client:
        found = (await client.fetch_all_metadata()).partitions_for_topic(topic)
    if found is None:
        reason = f"{kafka.bootstrap} has no such topic"
        raise ConfigError(f"topic {topic!r}", reason, "Make it first.")
    return len(found)


async def next_offsets(
    kafka: KafkaAccess, topics: Sequence[str], at_ms: int | None
) -> dict[str, list[int]]:
    """By topic: of each partition the offset of the first record stamped `at_ms` or later.

    The end of the partition where there is none, and for None. Raises Unavailable.
    """
    consumer = AIOKafkaConsumer(
        group_id=None, isolation_level="read_committed", **kafka.arguments()
    )
    try:
        async with kafka.answered():
            await consumer.start()
            found = {}
            for topic in topics:
                count = await partition_count(kafka, topic)
                places = [TopicPartition(topic, partition) for partition in range(count)]
                ends = await consumer.end_offsets(places)
                wanted = {} if at_ms is None else dict.fromkeys(places, max(0, at_ms))
                first = await consumer.offsets_for_times(wanted) if wanted else {}
                chosen = [(first.get(place), ends[place]) for place in places]
                found[topic] = [end if at is None else at.offset for at, end in chosen]
            return found
    finally:
        await consumer.stop()


async def deletes_rows(kafka: KafkaAccess, topic: str) -> str | None:
    """The settings by which `topic` deletes the latest record of a key after a while.

    None where it keeps it, and where the broker does not say. Raises Unavailable.
    """
    async with _metadata(kafka) as client:
        if client.cluster.controller is None:
            return None  # librdkafka's mock
    admin = AIOKafkaAdminClient(**kafka.arguments())
    try:
        async with kafka.answered():
            await admin.start()
            asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
            answers = await admin.describe_configs(asked)
    finally:
        await admin.close()
    found: dict[str, str] = {}
    for answer in answers:
        for code, _, _, _, entries in answer.resources:
            if code == 0:  # else this client may not ask
                found |= {entry[0]: entry[1] for entry in entries}
    if "delete" not in found.get("cleanup.policy", ""):
        return None
    names = "cleanup.policy", "retention.ms", "retention.bytes"
    named = [f"{name}={found[name]}" for name in names if found.get(name, "-1") != "-1"]
    return ", ".join(named) if len(named) > 1 else None


async def check_brokers(kafka: KafkaAccess) -> None:
    """Raise Unavailable unless the cluster accepts this client and lists one of its brokers."""
    async with _metadata(kafka):
        pass


@contextlib.asynccontextmanager
async def _metadata(kafka: KafkaAccess) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**kafka.arguments())
    try:
        async with kafka.answered():
            await client.bootstrap()
            yield client
    finally:
        await client.close()


async def _create(kafka: KafkaAccess, topics: list[NewTopic]) -> None:
    admin = AIOKafkaAdminClient(**kafka.arguments())
    try:
        await admin.start()
        answer = await admin.create_topics(topics)
    finally:
        await admin.close()
    for topic, code, *details in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            name = for_code(code).__name__
            raise ConfigError(f"topic {topic!r}", f"{name} {details}", "Make it by hand.")
