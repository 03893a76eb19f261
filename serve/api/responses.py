"""What the endpoint gives, typed: encoded as they stand, and described by the same types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = Any
"""Plain JSON of a shape that the pipeline decides."""


class ModelInfo(msgspec.Struct):
    """Which weights answered."""

    version: str | None
    """``epoch.step``; None: no weights yet, the scores are those of an untrained model."""
    age_ms: int | None
    """Since they were published."""


class FeatureInfo(msgspec.Struct):
    """Which features were used."""

    source: Literal["online", "last_known", "default"]
    """``online``; ``last_known`` or ``default`` while the store does not answer; ``default`` too
    for an entity that nothing is known of."""
    event_time_ms: int | None
    """Of the newest event in them."""
    age_ms: int | None
    """Since that event."""
    offset: int | None
    """In its partition, of the last event in them."""


class ScoreAnswer(msgspec.Struct):
    """The answer to POST /v1/score."""

    request_id: str
    model: ModelInfo
    features: FeatureInfo
    scores: list[float]
    """Probabilities in the order of the candidates."""
    ranking: list[int]
    """Indices of the candidates, best first."""


class Position(msgspec.Struct):
    """Where an event lies in the topic."""

    partition: int
    offset: int
    topic: str


class EventsAnswer(msgspec.Struct):
    """The answer to POST /v1/events."""

    accepted: int
    positions: list[Position]


class FeaturesAnswer(FeatureInfo, kw_only=True):
    """The answer to GET /v1/features/{entity}/{id}: the features as of now."""

    entity: str
    id: str
    at_ms: int
    """The moment that they are read for: windows move without events."""
    features: dict[str, Json]


class EntityEvent(msgspec.Struct):
    """One event of an entity, as it lies in its topic."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """The broker's time of the record."""
    event: Json


class ScannedTopic(msgspec.Struct):
    """The records of a topic that were looked at: those with ``begin <= offset < end``."""

    topic: str
    partition: int
    begin: int
    end: int
    begin_timestamp_ms: int | None
    """The broker's time of the oldest of them; None where there is none."""
    complete: bool
    """Whether the partition holds no record before them."""


class EntityEventsAnswer(msgspec.Struct):
    """The answer to GET /v1/entities/{entity}/{id}/events."""

    entity: str
    id: str
    events: list[EntityEvent]
    """Newest first, by the broker's time."""
    scanned: list[ScannedTopic]
    """One for each topic of events."""


class ModelAnswer(ModelInfo, kw_only=True):
    """The answer to GET /v1/model."""

    newest_event_ms: int | None
    """The newest event time among all examples that the weights contain."""
    learner_silent_ms: int | None
    """Since the learner last answered."""
    learner_error: str | None
    """What its last answer failed with."""
    applied: dict[str, dict[str, int]]
    """By partition and source topic: the first offset that the weights have not learned."""


class LimitsInfo(msgspec.Struct):
    """How much one request may hold."""

    body_bytes: int
    candidates: int
    events: int


class PipelineAnswer(msgspec.Struct):
    """The answer to GET /v1/pipeline: what a caller, or the page, has to know."""

    pipeline: str
    entity: str
    candidate: dict[str, str]
    """The fields of a candidate, with their types: ``str``, ``int`` or ``float``."""
    event_schema: dict[str, Json]
    """JSON schema of one event."""
    samples: dict[str, Json]
    """Examples for the page."""
    show: int
    """How many of the best count as shown where a request does not say."""
    bounds: LimitsInfo


class HealthAnswer(msgspec.Struct):
    """The answer to GET /healthz."""

    ok: bool
    reason: str | None
    """What has stopped this replica for good."""


class ReadyAnswer(msgspec.Struct):
    """The answer to GET /readyz."""

    ready: bool
    missing: dict[str, str]
    """What keeps this replica from answering well, by part."""


class Problem(msgspec.Struct):
    """What was wrong: the place in the request, and what to mend."""

    field: str
    reason: str


class ErrorAnswer(msgspec.Struct):
    """Every other answer that is not 2xx."""

    error: Problem


Statuses: TypeAlias = Mapping[str, Mapping[str, Json]]
"""The answer to GET /v1/status: the figures of each part."""
