"""The parts that are not ours: a broker, a Redis, their topics, and the state that fits to them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from freshrank.actors.errors import ConfigError
from freshrank.deploy.brokers import Broker, open_broker
from freshrank.deploy.pipeline import Pipeline
from freshrank.deploy.redis_server import RedisServer
from freshrank.deploy.settings import Settings
from freshrank.feature_actors.kafka import ensure_topics, partition_count
from freshrank.feature_actors.kafka_security import OPEN, KafkaSecurity
from freshrank.feature_actors.online_store import check_access

EMBEDDED = "embedded"

# In the state folder: which kind of broker its offsets belong to.
_MARKER = "broker"


@dataclass(frozen=True, slots=True)
class Outside:
    """Broker and Redis, started here or given."""

    broker: Broker
    redis: RedisServer

    async def start(self) -> None:
        """Start both at the same time. Raises Unavailable and ConfigError."""
        parts = (self.broker, self.redis)
        answers = await asyncio.gather(
            *(asyncio.to_thread(part.start) for part in parts), return_exceptions=True
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
        open_broker(settings.kafka.bootstrap, topics=topics, folder=state / "kafka", say=say),
        RedisServer(None if url == EMBEDDED else url),
    )


def side_topics(pipeline: Pipeline) -> list[str]:
    """Where records go that cannot be used, and alerts."""
    dead = [f"{topic}.dead" for topic in pipeline.topics]
    return [*dead, f"{pipeline.stream.topic}.late", pipeline.alerts_topic]


async def prepare_topics(
    pipeline: Pipeline, bootstrap: str, partitions: int, security: KafkaSecurity = OPEN
) -> int:
    """Make the topics that are missing; gives the number of partitions that the stream has.

    Raises ConfigError when the impressions are not partitioned as the stream is.
    """
    others = [*pipeline.topics[1:], *side_topics(pipeline)]
    await ensure_topics(bootstrap, [pipeline.stream.topic], partitions, security=security)
    count = await partition_count(bootstrap, pipeline.stream.topic, security=security)
    await ensure_topics(bootstrap, others, count, security=security)
    for topic in pipeline.topics[1:]:
        found = await partition_count(bootstrap, topic, security=security)
        if found != count:
            raise ConfigError(
                f"topic {topic!r}",
                f"it has {found} partitions and {pipeline.stream.topic!r} has {count}",
                "Give both the same number: a user's records have to meet in one place.",
            )
    return count


def prepare_state(folder: Path, kafka: str, say: Callable[[str], None]) -> None:
    """Make the state folder, or put one aside whose offsets no broker knows any more.

    The embedded broker forgets its topics when it stops, so what was learned from them cannot
    be continued: offsets would begin at 0 again.
    """
    kind = kafka if kafka in (EMBEDDED, "apache") else "given"
    marker = folder / _MARKER
    if marker.exists():
        before = marker.read_text(encoding="utf-8")
        if EMBEDDED in (kind, before):
            aside = folder.with_name(f"{folder.name}.previous")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            say(
                "starting anew: the state of the last run belongs to an in-memory broker that is "
                f"gone with its topics (it is kept in {aside})"
            )
        elif kind != before:
            raise ConfigError(
                str(folder),
                f"this state belongs to another broker (kind {before!r}, now {kind!r})",
                "Give another folder (FRESHRANK_STATE), or remove this one to start anew.",
            )
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(kind, encoding="utf-8")
