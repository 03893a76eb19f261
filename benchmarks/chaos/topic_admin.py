"""Topics as others make and delete them, while a system may be reading them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from freshrank.benchmarks.polling import wait_for
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

# Records have the time of their producers: the broker does not stamp them.
_CONFIGS = {"message.timestamp.type": "CreateTime"}
_TIMEOUT_S = 30.0


async def make_topic(bootstrap: str, topic: str, partitions: int) -> None:
    """Make a topic whose records are stamped by their producers, instead of one of that name.

    Raises Unavailable.
    """
    made = NewTopic(topic, partitions, 1, topic_configs=_CONFIGS)

    async with _admin(bootstrap) as admin:
        await admin.delete_topics([topic])

        async def is_made() -> bool:
            """Try again while the one of before is still being deleted."""
            answer = await admin.create_topics([made])
            return not any(code for _, code, *_ in answer.topic_errors)

        await wait_for(is_made, _TIMEOUT_S, "kafka", f"topic {topic!r} was not made")
    await ensure_topics(KafkaAccess(bootstrap), [topic], partitions)


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(**KafkaAccess(bootstrap).arguments())
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()
