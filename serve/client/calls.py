"""The requests that a client can make, and the types of their answers."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar, cast
from urllib.parse import quote

from freshrank.serve.api.explain_answers import ExplainAnswer
from freshrank.serve.api.recommendation_answers import ItemId, RecommendAnswer, SimilarAnswer
from freshrank.serve.api.responses import (
    BatchAnswer,
    EventsAnswer,
    FeaturesAnswer,
    ForgetAnswer,
    Json,
    ScoreAnswer,
    Statuses,
)
from freshrank.serve.client.tables import Rows, rows_of

T = TypeVar("T")


class ConsistencyOptions(TypedDict, total=False):
    """How new the weights and the rows of an answer have to be."""

    min_version: str
    max_model_age_ms: int
    min_offsets: Mapping[str, int]
    timeout_ms: int
    pinned: str


class ExplainOptions(ConsistencyOptions, total=False):
    """What a request to explain may say besides."""

    on_bad_candidate: Literal["fail", "skip"]


class ScoreOptions(ExplainOptions, total=False):
    """What a request to score may say besides."""

    show: int


class PageOptions(ConsistencyOptions, total=False):
    """What a request for a page may say besides."""

    show: int
    explain: int


class SimilarOptions(TypedDict, total=False):
    """What a request for similar items may say besides."""

    k: int
    filters: Mapping[str, Json]
    exclude: Sequence[ItemId]
    diversify: Mapping[str, Json]


class RecommendOptions(SimilarOptions, PageOptions, total=False):
    """What a request for recommendations may say besides."""

    context: Mapping[str, Json]
    boosts: Sequence[Mapping[str, Json]]
    exclude_seen: bool | Sequence[str]
    sources: Sequence[str]
    candidates: int
    pages: int


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the type of its answer. It may be sent again: nothing happens twice."""

    method: Literal["GET", "POST", "DELETE"]
    path: str
    answer: Any
    """What the answer is decoded to: the type `T`."""
    body: Any = None
    idempotency_key: str | None = None


class Calls:
    """Makes the requests of a pipeline whose entity has the name `entity`."""

    def __init__(self, entity: str) -> None:
        self._entity = entity

    def score(
        self, key: ItemId, candidates: Rows, options: ScoreOptions, idempotency_key: str | None
    ) -> Call[ScoreAnswer]:
        """POST /v1/score."""
        body = self.about(key, candidates, options)
        return Call("POST", "/v1/score", ScoreAnswer, body, idempotency_key or _new_key())

    def score_batch(
        self,
        requests: Iterable[tuple[ItemId, Rows]],
        options: ScoreOptions,
        idempotency_key: str | None,
    ) -> Call[BatchAnswer]:
        """POST /v1/score/batch. Raises TypeError for requests that are no pairs."""
        pairs = map(_pair, requests)
        body = {"requests": [self.about(key, rows, options) for key, rows in pairs]}
        return Call("POST", "/v1/score/batch", BatchAnswer, body, idempotency_key or _new_key())

    def recommend(
        self, key: ItemId, options: RecommendOptions, idempotency_key: str | None
    ) -> Call[RecommendAnswer]:
        """POST /v1/recommend."""
        body = {self._entity: key, **options}
        return Call("POST", "/v1/recommend", RecommendAnswer, body, idempotency_key or _new_key())

    def next_page(
        self, following: str, options: PageOptions, idempotency_key: str | None
    ) -> Call[RecommendAnswer]:
        """POST /v1/recommend/next."""
        body = {"next": following, **options}
        key = idempotency_key or _new_key()
        return Call("POST", "/v1/recommend/next", RecommendAnswer, body, key)

    def similar(self, items: Sequence[ItemId], options: SimilarOptions) -> Call[SimilarAnswer]:
        """POST /v1/similar."""
        # One text in place of a list is no list of its letters: the endpoint says so.
        given = items if isinstance(items, str) else list(items)
        return Call("POST", "/v1/similar", SimilarAnswer, {"items": given, **options})

    def explain(
        self, key: ItemId, candidates: Rows, options: ExplainOptions
    ) -> Call[ExplainAnswer]:
        """POST /v1/explain."""
        return Call("POST", "/v1/explain", ExplainAnswer, self.about(key, candidates, options))

    def events(self, events: Rows, stream: str | None) -> Call[EventsAnswer]:
        """POST /v1/events."""
        query = "" if stream is None else f"?stream={quote(stream, safe='')}"
        return Call("POST", f"/v1/events{query}", EventsAnswer, rows_of(events))

    def features(self, key: ItemId, entity: str | None) -> Call[FeaturesAnswer]:
        """GET /v1/features/{entity}/{id}."""
        return Call("GET", f"/v1/features/{self._place(key, entity)}", FeaturesAnswer)

    def forget(self, key: ItemId) -> Call[ForgetAnswer]:
        """DELETE /v1/entities/{entity}/{id}."""
        return Call("DELETE", f"/v1/entities/{self._place(key, None)}", ForgetAnswer)

    def status(self) -> Call[Statuses]:
        """GET /v1/status."""
        return Call("GET", "/v1/status", dict[str, dict[str, Json]])

    def _place(self, key: ItemId, entity: str | None) -> str:
        return f"{quote(entity or self._entity, safe='')}/{quote(str(key), safe='')}"

    def about(
        self, key: ItemId, candidates: Rows, options: Mapping[str, object]
    ) -> dict[str, Json]:
        """The body of a request about an entity and candidates."""
        return {self._entity: key, "candidates": rows_of(candidates), **options}


def _pair(request: object) -> tuple[ItemId, Rows]:
    """A request of a batch, which is a pair: of a mapping, say, Python would take the keys."""
    if isinstance(request, (tuple, list)) and len(request) == 2:
        return cast(tuple[ItemId, Rows], request)
    raise TypeError(
        f"a request of a batch is a pair of the key and its candidates, not {request!r:.80}; "
        'as in score_batch([("u1", [{"item_id": 3}]), ("u2", [{"item_id": 4}])])'
    )


def _new_key() -> str:
    return uuid.uuid4().hex
