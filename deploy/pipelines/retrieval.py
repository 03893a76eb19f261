"""The sources of candidates of a pipeline, and the catalogue that they choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry, fields_of
from freshrank.feature_actors.labels.definitions import Joined
from freshrank.feature_actors.retrieval.base import CandidateSource, ItemFeatures
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.plan import FeaturePlan


class _Declared(Protocol):
    """What a retrieval plan needs of a pipeline."""

    @property
    def name(self) -> str: ...
    @property
    def stream(self) -> Stream: ...
    @property
    def plan(self) -> FeaturePlan: ...
    @property
    def candidate_plans(self) -> Sequence[FeaturePlan]: ...
    @property
    def context(self) -> Sequence[DeclaredEntry]: ...
    @property
    def joined(self) -> Joined | None: ...
    @property
    def candidates(self) -> Sequence[CandidateSource]: ...


def retrieval_plan(pipeline: _Declared) -> RetrievalPlan:
    """Put together what replicas find candidates by. Raises ConfigError."""
    place, joined = f"Pipeline({pipeline.name!r})", pipeline.joined
    key = joined.on if joined is not None else None
    items = next((plan for plan in pipeline.candidate_plans if plan.entity.key == key), None)
    if items is None or not items.latest:
        of_what = f"keyed by {key!r}, which impressions are joined on" if key else "of items"
        raise ConfigError(
            f"{place}.candidates",
            f"there is no table {of_what}, so nothing says which items there are",
            "Declare one, tables=[Table(...)], and a label that is Joined.",
        )
    return RetrievalPlan(
        place=place,
        items=ItemFeatures(items.latest[0].source, items, pipeline.stream),
        entity=pipeline.plan,
        context=[
            name
            for name in fields_of(pipeline.context)
            if isinstance(name, str) and name != pipeline.stream.key.key
        ],
        sources=tuple(pipeline.candidates),
    )
