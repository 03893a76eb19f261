"""The servers outside of our processes: a broker and its topics, a Redis.

A server that is missing or wrong when a run begins is for the user to mend: ConfigError. A server
that goes away later is Unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.records import TopicIdentity
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.brokers import Broker, open_broker
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.deploy.state.folders import KAFKA
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topic_ids import TopicIdentities
from freshrank.feature_actors.connectors.kafka.topics import (
    deletes_rows,
    ensure_topics,
    partition_count,
)
from freshrank.feature_actors.connectors.redis.connection import check_access
from freshrank.feature_actors.views.plan import FeaturePlan

RunBlocking: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a blocking call off the event loop."""

# Seconds for the first answer of a Redis: Ray, which starts beside it, may hold up this process.
_FIRST_ANSWER_S = 10.0

_FIXES = {
    "kafka": "See that it is up, and that kafka.bootstrap (FRESHRANK_KAFKA__BOOTSTRAP, --kafka) "
    "is its address. If it wants a login or TLS, say so in the file of --config: "
    "kafka.security_protocol, kafka.username, kafka.password_file (docs/security.md).",
    "redis": "See that it is up, and that redis.url (FRESHRANK_REDIS__URL, --redis) is right: "
    "redis://user:password@host:port/db.",
}


@dataclass(frozen=True, slots=True)
class ExternalServers:
    """A broker and a Redis, each the user's own or started here."""

    broker: Broker
    redis: RedisServer

    async def start(self, run_blocking: RunBlocking = asyncio.to_thread) -> str | None:
        """Start both at the same time, or check that they answer; returns a warning.

        Raises ConfigError.
        """
        servers = (self.broker, self.redis)
        with _as_config_error():
            results = await asyncio.gather(
                *(run_blocking(server.start) for server in servers), return_exceptions=True
            )
            # Raised when both have returned, so that `stop` finds whatever was started.
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            return await check_access(self.redis.url, _FIRST_ANSWER_S)

    async def stop(self) -> None:
        """Stop what was started here."""
        await asyncio.gather(
            asyncio.to_thread(self.broker.stop), asyncio.to_thread(self.redis.stop)
        )


def external_servers(
    pipeline: Pipeline, settings: Settings, state: Path, log: Callable[[str], None]
) -> ExternalServers:
    """Make the servers that the settings name, not started yet."""
    partitions = settings.kafka.partitions
    topics = dict.fromkeys((*source_topics(pipeline), *side_topics(pipeline)), partitions)
    url = settings.redis.address()
    kafka = settings.kafka
    folder = kafka.folder.absolute() if kafka.folder else state / KAFKA
    broker = open_broker(
        kafka.bootstrap,
        topics=topics,
        folder=folder,
        port=kafka.port,
        security=kafka.security(),
        log=log,
    )
    return ExternalServers(broker, RedisServer(None if url == EMBEDDED else url))


def source_topics(pipeline: Pipeline) -> list[str]:
    """Name all topics that are read, each once."""
    candidates = [topic for topics in pipeline.candidate_topics.values() for topic in topics]
    return list(dict.fromkeys([*pipeline.topics, *pipeline.rekeyed_topics, *candidates]))


def side_topics(pipeline: Pipeline) -> list[str]:
    """Name the topics of rejected records, late events and alerts."""
    dead = [f"{topic}.dead" for topic in source_topics(pipeline)]
    late = [f"{table.source.topic}.late" for table in pipeline.plan.tables]
    return [*dead, *late, pipeline.alerts_topic]


class TopicPartitions(NamedTuple):
    """The numbers of partitions of a pipeline's topics."""

    stream: int
    """Of each topic of the entity that requests name."""
    candidates: Mapping[str, int]
    """By entity that candidates name: of each topic that its rows are made of."""


async def prepare_topics(
    pipeline: Pipeline, kafka: KafkaAccess, settings: Settings
) -> TopicPartitions:
    """Create the topics that are missing; returns their numbers of partitions.

    Raises ConfigError when the broker does not answer, when the topics of one entity have different
    numbers of partitions, and when the stream has fewer partitions than there are shards.
    """
    with _as_config_error():
        count = await _prepared(pipeline, kafka, settings)
        check_rows_beside(pipeline, count)
        found = {}
        for plan in pipeline.candidate_plans:
            found[plan.entity.name] = await _prepared_of(plan, kafka, settings, count)
        side = side_topics(pipeline)
        await ensure_topics(kafka, side, count)
        return TopicPartitions(count, found)


def check_rows_beside(pipeline: Pipeline, partitions: int) -> None:
    """Raise ConfigError where events would be labelled by rows of which a part lies elsewhere."""
    spread = [
        plan.entity.name
        for plan in pipeline.candidate_plans
        if any(table.owner_part is None for table in plan.tables)
    ]
    if pipeline.joined is None and spread and partitions > 1:
        topic, entity = pipeline.stream.topic, spread[0]
        raise ConfigError(
            f"topic {topic!r}",
            f"it has {partitions} partitions, and with Labelled the rows of {entity!r} that "
            "examples have are made of the events of one",
            "Give it one (FRESHRANK_KAFKA__PARTITIONS=1, for a topic that is created), or take a "
            "label that is Joined: impressions carry the rows that were served.",
        )


async def _prepared_of(
    plan: FeaturePlan, kafka: KafkaAccess, settings: Settings, stream_partitions: int
) -> int:
    """Create the topics that the rows of an entity are made of; returns their partitions.

    Copies of a stream's records get as many partitions as the entity's tables, if it has any.
    """
    tables = [latest.source.topic for latest in plan.latest]
    await ensure_topics(kafka, tables, settings.kafka.partitions, compacted=True)
    counts = {topic: await partition_count(kafka, topic) for topic in tables}
    for topic in tables:
        if deletes := await deletes_rows(kafka, topic):
            raise ConfigError(
                f"topic {topic!r}",
                f"it deletes rows of the table that are not written again ({deletes})",
                "Set cleanup.policy=compact, as with kafka-configs.sh --alter --entity-type topics "
                f"--entity-name {topic} --add-config cleanup.policy=compact.",
            )
    for topic, count in counts.items():
        # A rejected record goes to the partition of the number that it lies in.
        await ensure_topics(kafka, [f"{topic}.dead"], count)
    first = counts[tables[0]] if tables else stream_partitions
    copies = [table.source.log_topic for table in plan.tables]
    await ensure_topics(kafka, copies, first)
    counts |= {topic: await partition_count(kafka, topic) for topic in copies}
    for topic, count in counts.items():
        if count != first:
            other = f"{tables[0]!r} has" if tables else "the stream has"
            raise ConfigError(
                f"topic {topic!r}",
                f"it has {count} partitions and {other} {first}",
                f"Give topics of one entity ({plan.entity.name}) the same number.",
            )
    return first


async def _prepared(pipeline: Pipeline, kafka: KafkaAccess, settings: Settings) -> int:
    topics, shards = pipeline.topics, settings.shards.count
    others = [*topics[1:], *pipeline.rekeyed_topics]
    await ensure_topics(kafka, topics[:1], settings.kafka.partitions)
    count = await partition_count(kafka, topics[0])
    if count < shards:
        raise ConfigError(
            "shards.count",
            f"{shards} shards, but topic {topics[0]!r} has {count} partitions",
            f"Take {count} or fewer (FRESHRANK_SHARDS__COUNT). More partitions would move keys "
            "away from their state.",
        )
    await ensure_topics(kafka, others, count)
    for topic in topics[1:]:
        found = await partition_count(kafka, topic)
        if found != count:
            raise ConfigError(
                f"topic {topic!r}",
                f"it has {found} partitions and {topics[0]!r} has {count}",
                "Give both the same number, because a user's records have to meet in one place, "
                'or declare Stream(partitioner="any") for the one that another team writes.',
            )
    return count


async def topic_identities(pipeline: Pipeline, kafka: KafkaAccess) -> dict[str, TopicIdentity]:
    """Return the identities of the topics that `pipeline` reads. Raises ConfigError."""
    identities = TopicIdentities(kafka)
    with _as_config_error():
        try:
            return await identities.read(source_topics(pipeline))
        finally:
            await identities.close()


def check_summary(path: Path | None) -> None:
    """Raise ConfigError when the file of the summary could not be written at the end."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        problem = "it is a folder" if path.is_dir() else None
    except OSError as error:
        problem = error.strerror
    if problem is None and not os.access(path if path.exists() else path.parent, os.W_OK):
        problem = "it may not be written"
    if problem is not None:
        raise ConfigError(
            str(path), f"no place for the summary: {problem}", "Give another (--json)."
        )


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    """Turn Unavailable into the ConfigError that says how to mend it."""
    try:
        yield
    except Unavailable as error:
        fix = _FIXES.get(error.part, "See what it says.")
        raise ConfigError(error.part, error.reason, fix) from error
