"""What a user declares in one Python file, checked when it is declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from typing import Any

from freshrank.actors.errors import ConfigError
from freshrank.actors.inputs.cleaning import Cleaning
from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.deploy.pipelines.candidates import (
    candidate_plans,
    check_candidate_views,
    check_tables,
    plans_beside,
)
from freshrank.deploy.pipelines.checks.context_checks import check_context, check_relative
from freshrank.deploy.pipelines.checks.model_checks import (
    check_learned,
    check_target,
    fitted,
)
from freshrank.deploy.pipelines.checks.stream_checks import (
    check_streams,
    check_views,
    declared_streams,
    time_notes,
)
from freshrank.deploy.pipelines.declared_kinds import check_kinds
from freshrank.deploy.pipelines.experiments import check_experiments, check_uncertainty
from freshrank.deploy.pipelines.made_for import shards_made_for
from freshrank.deploy.pipelines.retrieval import retrieval_plan
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry, SourceWeight
from freshrank.feature_actors.encoding.derived_numbers import DerivedInputs
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.encoding.online_features import OnlineFeatures
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.retrieval.base import CandidateSource
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.plan import FeaturePlan
from freshrank.learner.models.base import Model, ModelSpec
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.optimizers.default import DEFAULT_OPTIMIZER
from freshrank.serve.experiments.definitions import Experiment

# The name becomes part of topic names, Redis keys, actor names and a folder.
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")

_FIRST: Any = None  # the default of `stream`, which is the first of `streams` then


@dataclass(frozen=True)
class Pipeline:
    """Streams turned into features, a model that learns from them, and an endpoint.

    Parameters
    ----------
    name
        Lower-case letters, digits, ``_`` and ``-``.
    stream
        Where the events come from.
    streams
        In place of `stream`: several, whose records are keyed by the same entity. Label and
        context refer to the first.
    features
        The feature views; each reads one of the streams. Its entity is that of the stream's key, or
        an entity that candidates name, whose key is a field of the events (``item_id``), or a
        compound entity (``Entity("user_category", key=["user_id", "category_id"])``).
    tables
        Compacted topics keyed by an entity that candidates name, such as a catalogue of items.
    context
        Fields of the first stream's schema that a candidate of a request carries (``item_id``), and
        fields that it takes from its row in one of the tables (``catalogue.price``). Integers are
        ids, but for ``as_number("age")``.
    label
        What makes an example positive: ``Joined`` with the impressions that were served, or
        ``Labelled`` by the event itself.
    model, optimizer
        The model and how it learns: Freshrank's, or any `ModelSpec` and `Optimizer` that the
        pipeline's file declares. `optimizer` may be left out: the default needs no tuning.
    crosses
        Pairs and triples of id inputs that are also looked up together
        (``("user_id", "category_id")``).
    missing
        Numeric inputs, by name, that tell whether they are missing by an input of their own.
    relative
        Numeric inputs, by name, whose difference from the median of a request's candidates is an
        input, too (``price_relative``).
    cleaning
        What the learner does to numbers first: ``Clipped("price")``, ``Imputed("age", "median")``,
        ``Scaled("age", "robust")``; and ``Bucketed("price")``, whose ranges are ids.
    candidates
        Where recommendations come from: sources such as ``CoVisited("users")``, which find items of
        the table that is keyed by what impressions are joined on. Without them there is no
        ``/v1/recommend``.
    experiments
        ``Experiment("name", arms=[Arm("control", share=0.5), ...])``: users in arms, which differ
        in the sources of their candidates and in how their lists explore.
    samples
        For the page: ``entities`` (keys to offer), ``candidates`` (what to score for them),
        ``event`` (a value for a field) and ``choices`` (values to choose a field from).

    Raises ConfigError, which names the place and the fix, for a wrong declaration.
    """

    name: str
    _: KW_ONLY
    stream: Stream = _FIRST
    streams: Sequence[Stream] = ()
    features: Sequence[type[FeatureView]]
    tables: Sequence[Table] = ()
    context: Sequence[DeclaredEntry]
    label: Joined | Labelled
    model: ModelSpec
    optimizer: Optimizer = DEFAULT_OPTIMIZER
    crosses: Sequence[Sequence[str]] = ()
    missing: Sequence[str] = ()
    relative: Sequence[str] = ()
    cleaning: Sequence[Cleaning] = ()
    candidates: Sequence[CandidateSource] = ()
    experiments: Sequence[Experiment] = ()
    samples: Mapping[str, JsonValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = f"Pipeline({self.name!r})"
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(
                place,
                "the name becomes part of topics and keys",
                "Use lower-case letters, digits, _ and -, beginning with a letter.",
            )
        streams = declared_streams(place, self.stream, self.streams)
        object.__setattr__(self, "stream", streams[0])
        object.__setattr__(self, "streams", streams)
        self._check_kinds(place)
        check_streams(place, self.streams, self.label, [view.source for view in self._own_views])
        fields = check_context(place, self.streams, self.context, self.label)
        check_relative(place, self.relative, self.label)
        check_candidate_views(place, self.stream, self._candidate_views, fields, self.label)
        check_tables(place, self.stream, self.tables, fields, self.label)
        _ = self.plan, self.retrieval, self.encoder
        check_experiments(place, self.experiments, self.candidates, self.label)
        check_uncertainty(place, self.experiments, self.bound_model, self.optimizer)
        check_target(place, self.bound_model.loss, self.label, self.candidates)

    def _check_kinds(self, place: str) -> None:
        check_kinds(place, vars(self))
        check_learned(f"{place}.model", self.model, ModelSpec, "LogisticRegression()")
        check_learned(f"{place}.optimizer", self.optimizer, Optimizer, "Adagrad()")
        check_views(place, self.features, self.streams, self.label)

    @cached_property
    def plan(self) -> FeaturePlan:
        """The views of the entity that requests name, compiled into the layout of its rows."""
        views = self._own_views
        return FeaturePlan(sorted(views, key=lambda view: self.streams.index(view.source)))

    @cached_property
    def candidate_plans(self) -> Sequence[FeaturePlan]:
        """The features of each entity that candidates name by its key."""
        return candidate_plans(self._candidate_views, self.tables)

    @property
    def plans(self) -> Mapping[str, FeaturePlan]:
        """The features of each entity, by its name; the entity that requests name comes first."""
        return {plan.entity.name: plan for plan in (self.plan, *self.candidate_plans)}

    @property
    def _own_views(self) -> Sequence[type[FeatureView]]:
        """The views of the entity that requests name."""
        return [view for view in self.features if view.entity.name == self.stream.key.name]

    @property
    def _candidate_views(self) -> Sequence[type[FeatureView]]:
        """The views of entities that candidates name."""
        return [view for view in self.features if view.entity.name != self.stream.key.name]

    @cached_property
    def encoder(self) -> InputEncoder:
        """From features and context to the model's inputs."""
        derived = DerivedInputs(self.missing, self.relative, self.cleaning)
        weights = [SourceWeight(one.name) for one in self.candidates if one.learned]
        context = [*self.context, *weights]
        plans = list(self.plans.values())
        return InputEncoder(plans, self.stream, context, self.crosses, derived)

    @cached_property
    def bound_model(self) -> Model:
        """The model with its sizes, which follow from the inputs."""
        place = f"Pipeline({self.name!r}).model"
        model = fitted(place, self.model, self.label)
        bound = model.bind(self.encoder.layout)
        if not isinstance(bound, Model):
            raise ConfigError(
                place,
                f"bind gives {bound!r}, which is no Model",
                "Implement all that freshrank.learner.models.base.Model names.",
            )
        return bound

    @cached_property
    def online_features(self) -> OnlineFeatures:
        """What a replica needs to read, encode and log features."""
        plans, on = list(self.plans.values()), self.joined.on if self.joined else None
        return OnlineFeatures(plans, self.encoder, self.stream, join_on=on)

    @cached_property
    def retrieval(self) -> RetrievalPlan | None:
        """How replicas find candidates; None: requests have to name them."""
        return retrieval_plan(self) if self.candidates else None

    @property
    def joined(self) -> Joined | None:
        """The label as a join with impressions; None: events carry their own labels."""
        return self.label if isinstance(self.label, Joined) else None

    @property
    def impressions_topic(self) -> str:
        """Topic in which replicas log what they served."""
        return f"{self.name}.impressions"

    @property
    def alerts_topic(self) -> str:
        """Topic of the alerts, as JSON (`actors.alerts.Alert`)."""
        return f"{self.name}.alerts"

    @property
    def topics(self) -> tuple[str, ...]:
        """The source topics in the order of every `SourceOffsets`."""
        streams = tuple(stream.log_topic for stream in self.streams)
        return (*streams, self.impressions_topic) if self.joined else streams

    @property
    def candidate_topics(self) -> Mapping[str, Sequence[str]]:
        """By entity that candidates name: the topics that its rows are made of."""
        return {
            plan.entity.name: [rows.source.log_topic for rows in plan.row_plans]
            for plan in self.candidate_plans
        }

    @property
    def rekeyed_topics(self) -> tuple[str, ...]:
        """The topics whose records are copied to others, keyed by an entity."""
        own = [stream.topic for stream in self.streams if stream.rekeyed]
        rows = [one.source for plan in self.candidate_plans for one in plan.tables]
        others = [source.topic for source in rows if source.owner is None]
        return tuple(dict.fromkeys([*own, *others]))

    @property
    def partitioners(self) -> Mapping[str, Partitioner]:
        """By source topic: how the partitions of its records are chosen."""
        streams = {stream.log_topic: stream.placed_by for stream in self.streams}
        impressions = {self.impressions_topic: self.stream.placed_by} if self.joined else {}
        return streams | {table.topic: table.placed_by for table in self.tables} | impressions

    @cached_property
    def made_for(self) -> MadeFor:
        """What the shards' snapshots are made for."""
        return shards_made_for(self.plan, self.encoder, self.label, self.streams)

    def spec(self, settings: ShardSettings, state: str = "") -> PartitionSpec:
        """Make the specification of a partition's state, for the shards; `state` is its id."""
        return PartitionSpec(
            plan=self.plan,
            encoder=self.encoder,
            label=self.label,
            impressions_topic=self.impressions_topic if self.joined else None,
            made_for=self.made_for,
            settings=settings,
            beside=plans_beside(self.candidate_plans, self.label),
            state=state,
        )

    def describe(self) -> str:
        """Describe features, inputs and bytes per entity, as text for people."""
        layout = self.encoder.layout
        plans = "\n".join(plan.describe() for plan in self.plans.values())
        return (
            f"{plans}\n"
            f"model inputs: {len(layout.dense)} dense, {layout.id_width} ids of "
            f"{len(layout.fields)} fields"
            + "".join(f"\n{note}" for note in (*self._of_requests(), *time_notes(self.streams)))
        )

    def _of_requests(self) -> Iterator[str]:
        if self.retrieval is not None and self.retrieval.request_context:
            names = ", ".join(self.retrieval.request_context)
            yield f"requests for recommendations give in their context: {names}"
