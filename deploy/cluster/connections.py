"""The connections of a process to the real systems: Kafka and Redis."""

from __future__ import annotations

from functools import partial

from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.connectors.redis.status_registry import RedisStatusRegistry


def kafka_and_redis(
    kafka: KafkaAccess, redis_url: str, namespace: str, partitions: int, sink: KafkaSink
) -> Connectors:
    """Connections that open when they are first used; `sink` is started by the caller.

    `namespace` is that of the pipeline's keys in Redis; each topic of events has `partitions`.
    """
    store = RedisStore(redis_url, namespace)
    status_registry = RedisStatusRegistry(redis_url, namespace)

    async def close() -> None:
        await sink.stop()
        await store.close()
        await status_registry.close()

    return Connectors(
        partitions=partitions,
        source=partial(KafkaSource, kafka),
        sink=sink,
        store=store,
        status_registry=status_registry,
        clock=SystemClock(),
        close=close,
    )
