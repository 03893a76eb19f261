"""What every host of a system is told: its pipeline, and where everything is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freshrank.actors.alerts import Alerts
from freshrank.actors.clock import SystemClock
from freshrank.actors.connectors import Connectors
from freshrank.actors.runtime import RemoteRole
from freshrank.deploy.cluster.connections import kafka_and_redis
from freshrank.deploy.cluster.status_actor import RemoteStatusRegistry
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.redis.online_store import RedisStore
from freshrank.feature_actors.settings import EXPIRY_SWEEPS


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """A pipeline and the addresses of what it works with: all that a host process is given."""

    file: PipelineFile
    settings: Settings
    kafka: KafkaAccess
    redis_url: str = field(repr=False)
    """With its password, if there is one."""
    state: Path
    """The state folder, absolute."""
    partitions: int
    """Number of partitions of the stream's topic."""
    learner: RemoteRole
    statuses: RemoteRole
    origin: str = ""
    """Of the state, that copies of records are made for."""
    rows_origin: str | None = None
    """Of the rows in Redis (`RedisStore`); None: that of the run that writes them at present."""
    candidate_partitions: Mapping[str, int] = field(default_factory=dict)
    """By entity that candidates name: number of partitions of its topics."""

    def alerts(self, part: str, sink: KafkaSink) -> Alerts:
        """Make the alerts of `part`, which `sink` writes to the pipeline's topic."""
        return Alerts(part, SystemClock(), sink, self.file.load().alerts_topic)

    @property
    def namespace(self) -> str:
        """Prefix of the pipeline's keys in Redis."""
        return f"fr:{self.file.load().name}"

    def connectors(self, sink: KafkaSink) -> Connectors:
        """Make new connections to broker and Redis, which open when they are first used."""
        store, statuses = self.store(), self.status_registry()
        others = self.candidate_partitions
        return kafka_and_redis(self.kafka, store, statuses, self.partitions, sink, others)

    def store(self) -> RedisStore:
        """Make a connection to the rows in Redis, which opens when it is first used."""
        expiry_s = EXPIRY_SWEEPS * self.settings.shards.sweep_s
        return RedisStore(self.redis_url, self.namespace, self.rows_origin, expiry_s=expiry_s)

    def status_registry(self) -> RemoteStatusRegistry:
        """Make a registry in which the parts of this cluster post their statuses."""
        return RemoteStatusRegistry(self.statuses)

    def sink(self) -> KafkaSink:
        """Make a writer to the broker, not started yet."""
        return KafkaSink(self.kafka, self.file.load().partitioners)
