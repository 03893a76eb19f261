"""From a pipeline, settings and collaborators to one part: the same for every way of running.

Nothing here starts anything or knows where it runs: `local` calls it with parts in memory,
`hosts` with Kafka, Redis and a learner in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import msgspec

from freshrank.actors.alerts import AlertSink
from freshrank.actors.clock import Clock
from freshrank.actors.connectors import Connectors
from freshrank.actors.kernels.partitioner import assign
from freshrank.actors.parameters.explanation import ExplainingScorer
from freshrank.actors.parameters.follower import Follower
from freshrank.actors.parameters.source import ParameterSource
from freshrank.actors.protocols import GradientSink, JsonValue
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.deploy.pipelines.candidates import candidate_specs
from freshrank.deploy.pipelines.experiments import samples_weights
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.state.folders import COPIES
from freshrank.feature_actors.reading.rekeyer import Rekeyer
from freshrank.feature_actors.retrieval.follower import CatalogueFollower, RetrievalSettings
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.copies.origin import copies_in
from freshrank.feature_actors.streams.entity_key import EntityKey
from freshrank.feature_actors.streams.stream import Stream
from freshrank.learner.core import Differentiate, Learner
from freshrank.learner.gradients.compiled import CompiledDifferentiator
from freshrank.learner.learned_pipeline import LearnedPipeline
from freshrank.learner.parameters.served_weights import served_scores, served_source
from freshrank.learner.parameters.uncertainty import sampled_predictions
from freshrank.learner.parameters.weights import ModelWeights
from freshrank.learner.settings import LearnerSettings
from freshrank.serve.monitoring.system_readiness import CANDIDATES_OF
from freshrank.serve.scoring.served_model import ServedModel
from freshrank.serve.scoring.served_pipeline import (
    EventStream,
    OriginalRecord,
    ServedPipeline,
)
from freshrank.serve.scoring.service import ScoringService
from freshrank.serve.settings import ServeSettings


def learner(
    pipeline: Pipeline, settings: LearnerSettings, differentiate: Differentiate | None = None
) -> Learner:
    """The core of the learner; `differentiate` where it is to be sent examples."""
    # Negatives need another event of their partition to be known, and partitions differ.
    delay_ms = 2 * pipeline.joined.delay_ms if pipeline.joined else 0
    learned = LearnedPipeline(pipeline.topics, delay_ms, samples_weights(pipeline.experiments))
    model, optimizer = pipeline.bound_model, pipeline.optimizer
    return Learner(model, optimizer, settings, learned, differentiate=differentiate)


def training(
    pipeline: Pipeline,
    learner: GradientSink,
    parameters: ParameterSource | None,
    clock: Clock,
    alerts: AlertSink | None,
) -> tuple[Training, Follower | None]:
    """How a shard trains, and the follower that keeps its weights up to date.

    The gradients are computed in the shard, on the weights of `parameters`; None: the learner is
    sent examples, and nothing is followed.
    """
    if parameters is None:
        return Training(learner), None
    weights = ModelWeights(pipeline.bound_model, pipeline.optimizer)
    follower = Follower(parameters, weights, clock, hold_epochs=False, alerts=alerts)
    differentiator = CompiledDifferentiator(pipeline.bound_model, weights)
    classes = pipeline.bound_model.loss.classes
    predict = None if classes else partial(served_scores, weights)
    return Training(learner, differentiator, weights, predict), follower


@dataclass(frozen=True, slots=True)
class ShardSurroundings:
    """What the shards of one process have around them, besides the learner."""

    index: int
    """Of the process among all that have shards."""
    settings: ShardSettings
    connectors: Connectors
    snapshots: Callable[[str], SnapshotStore]
    """By folder: keeps the snapshots of an entity that candidates name, and how far the records of
    streams are copied for it."""
    alerts: Callable[[str], AlertSink] | None = None
    """By name of a shard: makes its alerts. Each has its own, so that none tells of another's."""
    state: str = ""
    """The origin of the state (`PartitionSpec.state`)."""
    process_id: int | None = None


def candidate_shards(
    pipeline: Pipeline, around: ShardSurroundings, *, lock_step: bool = False
) -> list[Shard]:
    """The shards of the entities that candidates name, each with the partitions that it owns.

    None for an entity of which this process owns no partition.
    """
    found, settings, connectors = [], around.settings, around.connectors
    specs = candidate_specs(pipeline.candidate_plans, settings, connectors, around.state)
    for spec in specs:
        entity = spec.plan.entity.name
        own = connectors.of_entity(entity)
        partitions = assign(own.partitions, settings.count)[around.index]
        if not len(partitions):
            continue
        name = f"{CANDIDATES_OF}{entity}-{around.index}"
        identity = ShardIdentity(name, partitions, around.process_id)
        copied = around.snapshots(f"{entity}/{COPIES}")
        alerts = None if around.alerts is None else around.alerts(name)
        rekeyers = [
            Rekeyer(table.source, partitions, around.state, own, copied, alerts)
            for table in spec.plan.tables
            if table.source.owner is None
        ]
        ports = ShardPorts(own, None, around.snapshots(entity), alerts, rekeyers)
        found.append(Shard(spec, identity, ports, lock_step=lock_step))
    return found


def scoring_service(
    pipeline: Pipeline,
    settings: ServeSettings,
    parameters: ParameterSource,
    connectors: Connectors,
    alerts: AlertSink | None = None,
    pinned: Mapping[str, ExplainingScorer] | None = None,
) -> ScoringService:
    """One replica, which follows the weights of `parameters`; not started yet.

    `pinned` are further weights, by version.
    """
    samples, clock = samples_weights(pipeline.experiments), connectors.clock
    # The optimiser's state, which shards follow, tells how uncertain the weights are.
    weights = ModelWeights(pipeline.bound_model, pipeline.optimizer if samples else None)
    sample = partial(sampled_predictions, weights) if samples else None
    served = served_source(parameters, pipeline.bound_model, pipeline.optimizer)
    follower = Follower(served, weights, clock, hold_epochs=True, alerts=alerts)
    model = ServedModel(weights, follower, clock, settings.max_start_lag_ms, pinned, sample)
    found = _retriever(pipeline, settings, connectors, alerts)
    return ScoringService(_served(pipeline), settings, model, connectors, alerts, found)


def _retriever(
    pipeline: Pipeline,
    settings: ServeSettings,
    connectors: Connectors,
    alerts: AlertSink | None,
) -> CatalogueFollower | None:
    """What finds the candidates of recommendations; None where the pipeline has no sources."""
    plan = pipeline.retrieval
    if plan is None:
        return None
    bounds = RetrievalSettings(settings.most_items, settings.item_rows_per_s)
    return CatalogueFollower(plan, bounds, connectors, alerts)


def _served(pipeline: Pipeline) -> ServedPipeline:
    return ServedPipeline(
        name=pipeline.name,
        entity=pipeline.stream.key.name,
        features=pipeline.online_features,
        streams=[_event_stream(table.source) for table in pipeline.plan.tables],
        impressions_topic=pipeline.impressions_topic if pipeline.joined else None,
        layout=pipeline.encoder.fingerprint,
        classes=pipeline.bound_model.loss.classes,
        experiments=tuple(pipeline.experiments),
        samples={
            **pipeline.samples,
            "automatic": _automatic(pipeline),
            "time_unit": _time_unit(pipeline.stream),
        },
    )


def _event_stream(stream: Stream) -> EventStream:
    codec, schema = Codec(stream, closed=True), _event_schema(stream)
    found = EventStream(stream.topic, codec, schema, stream.placed_by)
    if stream.rekeyed:
        found = replace(found, log_topic=stream.log_topic, originals=_originals)
    return found


def _originals(record: bytes) -> list[OriginalRecord]:
    return [
        OriginalRecord(origin.partition, origin.offset, origin.timestamp_ms, value)
        for origin, value in copies_in(record)
    ]


def _event_schema(stream: Stream) -> Mapping[str, JsonValue]:
    """The JSON schema of one event, as requests give it: an integer key also as text."""
    schema = stream.posted_type
    _, components = msgspec.json.schema_components([schema])
    found: dict[str, JsonValue] = components.pop(schema.__name__)
    key, properties = EntityKey(schema, stream.fields, stream.key.key), found["properties"]
    assert isinstance(properties, dict)
    # Nothing of the record's own schema beside: it would hold for the text as well.
    properties[key.name] = msgspec.json.schema(key.in_json)
    # What its fields refer to ("#/$defs/...").
    return found | {"$defs": components} if components else found


def _time_unit(stream: Stream) -> str | None:
    """The unit of the event times of a stream; None where they are texts."""
    time = stream.time_field
    return str(time.unit) if time.kind is int else None


def _automatic(pipeline: Pipeline) -> dict[str, JsonValue]:
    """Which fields of an event a page fills in by itself, by their names in JSON."""
    stream = pipeline.stream
    in_json = {one.name: one.encode_name for one in msgspec.structs.fields(stream.event_type)}
    filled = {"id": stream.id, "time": stream.time, "key": stream.key.key}
    return {use: in_json[name] for use, name in filled.items()}
