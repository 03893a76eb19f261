"""Answers of the REST API: the types that msgspec encodes and that OpenAPI describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

Json: TypeAlias = Any
"""JSON whose shape depends on the pipeline."""


class ModelInfo(msgspec.Struct):
    """The weights that gave the answer."""

    version: str | None
    """``epoch.step``; None before the first weights: scores are those of an untrained model."""
    age_ms: int | None
    """Milliseconds since they were published; None of weights that are pinned."""


class FeatureInfo(msgspec.Struct):
    """The features that gave the answer."""

    source: Literal["online", "new", "stale", "outage"]
    """``online``: read from the online store. ``new``: the store answered, and has no row of this
    entity. While it does not answer in time, ``stale``: the row that was read last; ``outage``:
    no row is known, so that the features are defaults."""
    event_time_ms: int | None
    """Time of the newest event in the features, in milliseconds since the Unix epoch."""
    age_ms: int | None
    """Milliseconds since that event."""
    offset: int | None
    """Of the last event in the features, in its partition; of several streams of the first."""


class CandidateRows(msgspec.Struct):
    """The rows that the candidates have in a table: of the item's catalogue, for example."""

    source: Literal["online", "new", "stale", "outage"]
    """The worst source of these rows (see `FeatureInfo`); ``new``: no candidate has a row."""
    missing: list[int]
    """Indices of the candidates without a row: their numbers have no value, and their ids are
    absent."""
    copy_age_ms: int
    """Milliseconds since the oldest of the rows was read from the store: replicas keep copies of
    them for `serve.row_copy_ms`."""


class SkippedCandidate(msgspec.Struct):
    """A candidate that was left out of an answer, because the request wants it so."""

    index: int
    """Of the candidate, in the request."""
    field: str
    reason: str


class ScoreAnswer(msgspec.Struct):
    """The answer to POST /v1/score."""

    request_id: str
    model: ModelInfo
    features: FeatureInfo
    scores: list[float | None]
    """Predictions in the order of the candidates: of most models, probabilities of label 1; of a
    model of several classes, the probability of the likeliest. None for skipped candidates."""
    ranking: list[int]
    """Indices of the candidates that were scored, best first. Where the arm of an experiment
    explores, the first of them are drawn."""
    probabilities: list[dict[str, float] | None] | msgspec.UnsetType = msgspec.UNSET
    """Of each candidate, the probability of each class by its name; absent where the model gives
    a single score."""
    candidate_rows: dict[str, CandidateRows] | msgspec.UnsetType = msgspec.UNSET
    """By the topic that fills the rows; absent where the candidates of a pipeline have none."""
    skipped: list[SkippedCandidate] | msgspec.UnsetType = msgspec.UNSET
    """The candidates that are wrong; absent where all are right."""
    arms: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """By experiment, the arm that answered; absent where there is none."""


class Position(msgspec.Struct):
    """The place of an event in its topic."""

    partition: int
    offset: int
    topic: str


class EventsAnswer(msgspec.Struct):
    """The answer to POST /v1/events."""

    accepted: int
    positions: list[Position]


class ForgetAnswer(msgspec.Struct):
    """The answer to DELETE /v1/entities/{entity}/{id}."""

    entity: str
    id: str
    positions: list[Position]
    """Of its tombstones, each in another stream."""


class FeaturesAnswer(FeatureInfo, kw_only=True):
    """The answer to GET /v1/features/{entity}/{id}: the features as of now."""

    entity: str
    id: str
    at_ms: int
    """The time that the features are of: windows move without events."""
    features: dict[str, Json]
    """By name: a number, or a bag of entries with ``id``, ``weight`` and ``value``; where the text
    of an entry is not known, ``hash_of`` (its field) in place of ``value``."""


class EntityEvent(msgspec.Struct):
    """An event of an entity, as its topic holds it."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    """The broker's time of the record."""
    event: Json


class ScannedTopic(msgspec.Struct):
    """The records of a topic that were read: those with ``begin <= offset < end``."""

    topic: str
    partition: int
    begin: int
    end: int
    begin_timestamp_ms: int | None
    """The broker's time of the oldest of these records; None where there is none."""
    complete: bool
    """Whether the partition holds no older record."""


class EntityEventsAnswer(msgspec.Struct):
    """The answer to GET /v1/entities/{entity}/{id}/events."""

    entity: str
    id: str
    events: list[EntityEvent]
    """Newest first, by the broker's time."""
    scanned: list[ScannedTopic]
    """An entry for each topic of events."""


class ModelAnswer(ModelInfo, kw_only=True):
    """The answer to GET /v1/model."""

    newest_event_ms: int | None
    """The newest event time among all examples that the weights contain."""
    learner_silent_ms: int | None
    """Milliseconds since the learner last answered."""
    learner_error: str | None
    """The error of the last long poll; None after a success."""
    pinned: list[str]
    """Versions of further weights, which arms of experiments are pinned to."""
    applied: dict[str, dict[str, int]]
    """By partition and source topic: the first offset that the weights have not learned."""


class LimitsInfo(msgspec.Struct):
    """The largest size of a request."""

    body_bytes: int
    candidates: int
    explained: int
    """Candidates in a POST /v1/explain."""
    events: int
    batch: int
    """Requests in a POST /v1/score/batch."""
    batch_candidates: int
    """Candidates of all these requests together."""


class CatalogueInfo(msgspec.Struct):
    """The catalogue that recommendations are chosen from."""

    entity: str
    """What kind of entity its items are."""
    fields: dict[str, str]
    """Its fields, with their types: ``str``, ``int`` or ``float``, and of lists ``list[str]`` or
    ``list[int]``."""
    sources: list[str]
    """The names of the sources that find candidates."""
    similar: list[str]
    """Those of them that find items for others."""
    seen: list[str]
    """The features that list items which the request's entity touched, for ``exclude_seen``."""
    context: dict[str, Json]
    """JSON schema of the ``context`` of a request for recommendations: the fields of a candidate
    that no item has."""


class PipelineAnswer(msgspec.Struct):
    """The answer to GET /v1/pipeline: what callers and the page have to know."""

    pipeline: str
    entity: str
    candidate: dict[str, str]
    """The fields of a candidate, with their types: ``str``, ``int`` or ``float``."""
    streams: list[str]
    """The topics of events."""
    event_schema: dict[str, Json]
    """JSON schema of an event of the first stream."""
    event_schemas: dict[str, dict[str, Json]]
    """By topic: the same of each of `streams`."""
    samples: dict[str, Json]
    """Examples for the page."""
    show: int
    """How many of the best candidates are logged as shown where a request does not say."""
    bounds: LimitsInfo
    catalogue: CatalogueInfo | None
    """Of POST /v1/recommend and /v1/similar; None: the pipeline has neither."""
    classes: list[str] | msgspec.UnsetType = msgspec.UNSET
    """The classes that the model predicts; absent where it gives a single score."""


class HealthAnswer(msgspec.Struct):
    """The answer to GET /healthz."""

    ok: bool
    reason: str | None
    """What has stopped this replica for good."""


class ReadyAnswer(msgspec.Struct):
    """The answer to GET /readyz."""

    ready: bool
    missing: dict[str, str]
    """By part: what keeps new events from good answers of this replica."""


class Problem(msgspec.Struct):
    """What is wrong: the place in the request, or the part that failed, and the reason."""

    field: str
    reason: str


class ErrorAnswer(msgspec.Struct):
    """Any other answer that is not 2xx."""

    error: Problem


class BatchEntry(msgspec.Struct):
    """The answer to a request of a batch: `answer` or `error`."""

    status: int
    """The HTTP status that the request would have had by itself."""
    answer: ScoreAnswer | None
    error: Problem | None


class BatchAnswer(msgspec.Struct):
    """The answer to POST /v1/score/batch."""

    answers: list[BatchEntry]
    """In the order of the requests."""


Statuses: TypeAlias = Mapping[str, Mapping[str, Json]]
"""The answer to GET /v1/status: by part, its metrics."""
