"""From a pipeline and settings to the log of what was served: broker, topics, partitions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.protocols import EventSource
from freshrank.deploy.config.settings import EMBEDDED, Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.servers.apache_kafka import ApacheKafka
from freshrank.deploy.servers.kafka_login import known_clients
from freshrank.deploy.state.folders import KAFKA
from freshrank.deploy.state.known_layouts import known_layouts
from freshrank.deploy.state.records import origin_recorded
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import check_brokers, partition_count


@dataclass(frozen=True, slots=True)
class ServedLog:
    """The topics of what was served and of what users did."""

    pipeline: Pipeline
    settings: Settings
    partitions: int
    """Of the stream's topic, and of that of the impressions."""
    state: str
    """The origin of the state that a run keeps: copies of a re-keyed stream belong to it."""
    source: Callable[[], EventSource]
    """Makes readers of the broker, not started yet."""
    layouts: Mapping[str, KeptLayout] = field(default_factory=dict)
    """By fingerprint: the input layouts that impressions have had."""


@contextlib.contextmanager
def broker_of(
    pipeline: Pipeline, settings: Settings, log: Callable[[str], None]
) -> Iterator[KafkaAccess]:
    """The broker that the settings name; an Apache Kafka of ours is started unless it runs.

    `log` is called with a line before each step that takes seconds. Raises ConfigError.
    """
    kafka = settings.kafka
    if kafka.bootstrap == EMBEDDED:
        raise ConfigError(
            "kafka.bootstrap",
            "an embedded broker ends with its run, and its topics with it",
            "Run and read with --kafka apache, or with a broker of yours (--kafka host:port).",
        )
    if kafka.bootstrap != "apache":
        yield KafkaAccess(kafka.bootstrap, kafka.security())
        return
    folder = kafka.folder or settings.state_folder(pipeline.name) / KAFKA
    known = known_clients(folder)
    if known is None:
        raise ConfigError(
            str(folder), "no Apache Kafka has kept records there", "Run with --kafka apache first."
        )
    if _answers(known):
        yield known
        return
    with ApacheKafka(folder.absolute(), kafka.port, log=log) as broker:
        yield KafkaAccess(broker.bootstrap, broker.security)


def _answers(kafka: KafkaAccess) -> bool:
    try:
        asyncio.run(check_brokers(kafka))
    except Unavailable:
        return False
    return True


def served_log(pipeline: Pipeline, settings: Settings, kafka: KafkaAccess) -> ServedLog:
    """The log of a pipeline. Raises ConfigError where it has none, or it cannot be read."""
    if pipeline.joined is None:
        raise ConfigError(
            f"Pipeline({pipeline.name!r}).label",
            "it joins no impressions, so that no topic tells what was served",
            "Declare label=Joined(...); of Labelled events, ask `freshrank features`.",
        )
    topics = pipeline.stream.log_topic, pipeline.impressions_topic
    try:
        counts = [asyncio.run(partition_count(kafka, topic)) for topic in topics]
    except Unavailable as error:
        raise ConfigError(
            "kafka.bootstrap",
            error.reason,
            "Give the broker of the run. If it wants a login or TLS, give its settings, too: "
            "kafka.security_protocol, kafka.username, kafka.password_file (docs/security.md), "
            "in the file of --config, or in `settings=`.",
        ) from error
    if len(set(counts)) > 1:
        raise ConfigError(
            f"topic {topics[1]!r}",
            f"it has {counts[1]} partitions and {topics[0]!r} has {counts[0]}",
            "Name the broker of the run, whose topics have as many.",
        )
    folder = settings.state_folder(pipeline.name)
    state = origin_recorded(folder) or ""
    if pipeline.stream.rekeyed and not state:
        raise ConfigError(
            str(folder),
            f"the copies of records of {pipeline.stream.topic!r} belong to the state of a run, and "
            "there is none",
            "Read where the run keeps its state, or name it: `state` (FRESHRANK_STATE).",
        )
    layouts = known_layouts(folder)
    return ServedLog(pipeline, settings, counts[0], state, source_of(kafka), layouts)


def source_of(kafka: KafkaAccess) -> Callable[[], EventSource]:
    """Makes readers of the broker, not started yet."""
    return partial(KafkaSource, kafka)
