"""The connections of a process to the real systems: Kafka and Redis."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.protocols import StatusRegistry
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.redis.online_store import RedisStore


def kafka_and_redis(
    kafka: KafkaAccess,
    store: RedisStore,
    status_registry: StatusRegistry,
    partitions: int,
    sink: KafkaSink,
    further_partitions: Mapping[str, int] | None = None,
) -> Connectors:
    """Connections that open when they are first used; `sink` is started by the caller.

    Each topic of events has `partitions`; see `Connectors` for the rest.
    """

    async def close() -> None:
        await sink.stop()
        await store.close()

    return Connectors(
        partitions=partitions,
        source=partial(KafkaSource, kafka),
        sink=sink,
        store=store,
        status_registry=status_registry,
        clock=SystemClock(),
        close=close,
        further_partitions=further_partitions or {},
    )
