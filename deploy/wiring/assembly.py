"""From a pipeline, settings and collaborators to one part: the same for every way of running.

Nothing here starts anything or knows where it runs: `local` calls it with parts in memory,
`hosts` with Kafka, Redis and a learner in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.connectors import Connectors
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.protocols import (
    EventSource,
    GradientSink,
    JsonValue,
    OnlineStore,
    ParameterSource,
    RecordSink,
    SnapshotStore,
    StatusRegistry,
)
from freshrank.deploy.config.settings import ShardSettings as ShardSection
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.partition.backpressure import Limits as ShardLimits
from freshrank.feature_actors.partition.spec import TableBounds
from freshrank.feature_actors.shard.ports import ShardPorts, ShardSettings
from freshrank.feature_actors.shard.shard import Shard
from freshrank.feature_actors.streams.json_decoder import Codec, record_type
from freshrank.learner.core import Differentiate, Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings
from freshrank.serve.scoring.served_model import ServedModel
from freshrank.serve.scoring.served_pipeline import ServedPipeline
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings


def learner(
    pipeline: Pipeline, settings: LearnerSettings, differentiate: Differentiate | None = None
) -> Learner:
    """The core of the learner; `differentiate` where it is to be sent examples."""
    # Negatives need another event of their partition to be known, and partitions differ.
    delay_ms = 2 * pipeline.joined.delay_ms if pipeline.joined else 0
    return Learner(
        pipeline.bound_model,
        pipeline.optimizer,
        settings,
        label_delay_ms=delay_ms,
        differentiate=differentiate,
        topics=pipeline.topics,
    )


@dataclass(frozen=True, slots=True)
class ShardParts:
    """What a shard needs of the world."""

    source: EventSource
    sink: RecordSink
    store: OnlineStore
    learner: GradientSink
    parameters: ParameterSource | None
    """Whose weights the gradients are computed on; None: the learner is sent examples."""
    snapshots: SnapshotStore
    status_registry: StatusRegistry
    clock: Clock
    alerts: AlertSink | None = None


def shard(
    pipeline: Pipeline,
    partitions: Sequence[int],
    settings: ShardSettings,
    parts: ShardParts,
    bounds: TableBounds,
) -> tuple[Shard, Follower | None]:
    """A shard, and what keeps its weights new where it computes gradients; neither is started."""
    follower: Follower | None = None
    weights: ModelWeights | None = None
    differentiator: CompiledDifferentiator | None = None
    if parts.parameters is not None:
        weights = ModelWeights(pipeline.bound_model)
        follower = Follower(
            parts.parameters, weights, parts.clock, hold_epochs=False, alerts=parts.alerts
        )
        differentiator = CompiledDifferentiator(pipeline.bound_model, weights)
    ports = ShardPorts(
        source=parts.source,
        sink=parts.sink,
        store=parts.store,
        learner=parts.learner,
        differentiator=differentiator,
        weights=weights,
        snapshots=parts.snapshots,
        status_registry=parts.status_registry,
        clock=parts.clock,
        alerts=parts.alerts,
    )
    return Shard(pipeline.spec(bounds), partitions, ports, settings), follower


def bounds(settings: ShardSection) -> TableBounds:
    """What the settings say, in the words of a partition."""
    return TableBounds(settings.max_entities_per_partition, settings.max_event_ids_per_partition)


def shard_settings(settings: ShardSection, name: str, *, lock_step: bool = False) -> ShardSettings:
    """What the settings say, in the words of a shard."""
    return ShardSettings(
        name=name,
        poll_max_records=settings.poll_max_records,
        poll_timeout_s=0.0 if lock_step else settings.poll_timeout_ms / 1000,
        snapshot_interval_s=settings.snapshot_interval_s,
        push_timeout_s=settings.push_timeout_s,
        limits=ShardLimits(outbox_examples=settings.outbox_max_examples),
        lock_step=lock_step,
    )


def scoring_service(
    pipeline: Pipeline,
    settings: ServeSettings,
    parameters: ParameterSource,
    connectors: Connectors,
    alerts: AlertSink | None = None,
) -> ScoringService:
    """One replica, which follows the weights of `parameters`; not started yet."""
    weights, clock = ModelWeights(pipeline.bound_model), connectors.clock
    follower = Follower(parameters, weights, clock, hold_epochs=True, alerts=alerts)
    model = ServedModel(weights, follower, clock, settings.max_start_lag_ms)
    return ScoringService(_served(pipeline), settings, model, connectors, alerts)


def _served(pipeline: Pipeline) -> ServedPipeline:
    return ServedPipeline(
        name=pipeline.name,
        entity=pipeline.stream.key.name,
        features=pipeline.served,
        events_topic=pipeline.stream.topic,
        event_key=event_key(pipeline),
        event_schema=_event_schema(pipeline),
        impressions_topic=pipeline.impressions_topic if pipeline.joined else None,
        layout=pipeline.encoder.fingerprint,
        samples={**pipeline.samples, "automatic": _automatic(pipeline)},
    )


def event_key(pipeline: Pipeline) -> Callable[[bytes], bytes]:
    """Checks one event's JSON and gives the key of its record; raises BadRecord."""
    decode, key = Codec(pipeline.stream).decode_one, pipeline.stream.key.key

    def key_of(event: bytes) -> bytes:
        return str(getattr(decode(event), key)).encode()

    return key_of


def _event_schema(pipeline: Pipeline) -> Mapping[str, JsonValue]:
    """The JSON schema of one event."""
    schema = record_type(pipeline.stream)
    _, components = msgspec.json.schema_components([schema])
    found: dict[str, JsonValue] = components.pop(schema.__name__)
    # What its fields refer to ("#/$defs/...").
    return found | {"$defs": components} if components else found


def _automatic(pipeline: Pipeline) -> dict[str, JsonValue]:
    """Which fields of an event a page fills in by itself."""
    stream = pipeline.stream
    return {"id": stream.id, "time": stream.time, "key": stream.key.key}
