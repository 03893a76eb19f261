"""Topics as others make and delete them, while a system may be reading them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from freshrank.actors.errors import Unavailable
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

# Records have the time of their producers: the broker does not stamp them.
_CONFIGS = {"message.timestamp.type": "CreateTime"}


async def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Make a topic whose records are stamped by their producers. Raises Unavailable."""
    async with _admin(bootstrap) as admin:
        answer = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=_CONFIGS)])
    for _, code, *details in answer.topic_errors:
        if code:
            raise Unavailable("kafka", f"topic {topic!r} was not made: {details}")
    await ensure_topics(KafkaAccess(bootstrap), [topic], partitions)


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**KafkaAccess(bootstrap).arguments())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
