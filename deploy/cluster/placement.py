"""What every host of a system is told: its pipeline, and where everything is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from freshrank.actors.alerts import Alerts
from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.runtime import RemoteRole
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A pipeline, and where the outside parts are: all that a host has to be told."""

    file: PipelineFile
    settings: Settings
    kafka: KafkaAccess
    redis_url: str = field(repr=False)
    """With the password, if there is one."""
    state: Path
    partitions: int
    """Of the stream's topic."""
    learner: RemoteRole

    def alerts(self, part: str, sink: KafkaSink) -> Alerts:
        """The alerts of `part`, written by `sink`."""
        return Alerts(part, SystemClock(), sink, self.file.load().alerts_topic)

    @property
    def namespace(self) -> str:
        """Of the pipeline's keys in Redis."""
        return f"fr:{self.file.load().name}"

    def connectors(self, sink: KafkaSink) -> Connectors:
        """New connections to broker and Redis, which open when they are first used."""
        return kafka_and_redis(self.kafka, self.redis_url, self.namespace, self.partitions, sink)

    def sink(self) -> KafkaSink:
        """A writer to the broker, not started yet."""
        return KafkaSink(self.kafka)
