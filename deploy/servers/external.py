"""The parts that are not ours: a broker, a Redis, and their topics.

What is not there, or is not as it has to be, when a run begins is for its user to mend: a
ConfigError. What goes away later is Unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.brokers import Broker, open_broker
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.deploy.state.state_folder import KAFKA
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics, partition_count
from freshrank.feature_actors.connectors.redis.connection import check_access

Offload: TypeAlias = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs what blocks away from the event loop."""

_FIXES = {
    "kafka": "See that it is up, and that kafka.bootstrap (FRESHRANK_KAFKA__BOOTSTRAP, --kafka) "
    "is its address.",
    "redis": "See that it is up, and that redis.url (FRESHRANK_REDIS__URL, --redis) is right: "
    "redis://user:password@host:port/db.",
}


@dataclass(frozen=True, slots=True)
class Outside:
    """Broker and Redis, started here or given."""

    broker: Broker
    redis: RedisServer

    async def start(self, offload: Offload = asyncio.to_thread) -> None:
        """Start both at the same time, or look whether they answer. Raises ConfigError."""
        parts = (self.broker, self.redis)
        with _to_mend():
            answers = await asyncio.gather(
                *(offload(part.start) for part in parts), return_exceptions=True
            )
            for answer in answers:  # both have ended, so that `stop` finds whatever was started
                if isinstance(answer, BaseException):
                    raise answer
            await check_access(self.redis.url)

    async def stop(self) -> None:
        """Stop what was started here."""
        await asyncio.gather(
            asyncio.to_thread(self.broker.stop), asyncio.to_thread(self.redis.stop)
        )


def outside_of(
    pipeline: Pipeline, settings: Settings, state: Path, say: Callable[[str], None]
) -> Outside:
    """What the settings name, not started yet."""
    partitions = settings.kafka.partitions
    topics = dict.fromkeys((*pipeline.topics, *side_topics(pipeline)), partitions)
    url = settings.redis.address()
    return Outside(
        open_broker(settings.kafka.bootstrap, topics=topics, folder=state / KAFKA, say=say),
        RedisServer(None if url == EMBEDDED else url),
    )


def side_topics(pipeline: Pipeline) -> list[str]:
    """Where records go that cannot be used, and alerts."""
    dead = [f"{topic}.dead" for topic in pipeline.topics]
    return [*dead, f"{pipeline.stream.topic}.late", pipeline.alerts_topic]


async def prepare_topics(pipeline: Pipeline, kafka: KafkaAccess, settings: Settings) -> int:
    """Make the topics that are missing; gives the number of partitions that the stream has.

    Raises ConfigError when the impressions are not partitioned as the stream is, when there are
    not enough partitions for the shards, and when the broker does not answer.
    """
    with _to_mend():
        return await _prepared(pipeline, kafka, settings)


async def _prepared(pipeline: Pipeline, kafka: KafkaAccess, settings: Settings) -> int:
    topics, shards = pipeline.topics, settings.shards.count
    others = [*topics[1:], *side_topics(pipeline)]
    await ensure_topics(kafka, topics[:1], settings.kafka.partitions)
    count = await partition_count(kafka, topics[0])
    if count < shards:
        raise ConfigError(
            "shards.count",
            f"{shards} shards, but topic {topics[0]!r} has {count} partitions",
            f"Take {count} or fewer (FRESHRANK_SHARDS__COUNT), or give the topic more partitions.",
        )
    await ensure_topics(kafka, others, count)
    for topic in topics[1:]:
        found = await partition_count(kafka, topic)
        if found != count:
            raise ConfigError(
                f"topic {topic!r}",
                f"it has {found} partitions and {topics[0]!r} has {count}",
                "Give both the same number: a user's records have to meet in one place.",
            )
    return count


def check_summary(path: Path | None) -> None:
    """Raise ConfigError when the summary could not be written at the end."""
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
def _to_mend() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        fix = _FIXES.get(error.part, "See what it says.")
        raise ConfigError(error.part, error.reason, fix) from error
