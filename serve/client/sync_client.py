"""The client of the REST API."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar, Unpack

import httpx

from freshrank.serve.api.explain_answers import ExplainAnswer
from freshrank.serve.api.recommendation_answers import ItemId, RecommendAnswer, SimilarAnswer
from freshrank.serve.api.responses import (
    BatchAnswer,
    EventsAnswer,
    FeaturesAnswer,
    ForgetAnswer,
    ScoreAnswer,
    Statuses,
)
from freshrank.serve.client.calls import (
    Call,
    Calls,
    ExplainOptions,
    PageOptions,
    RecommendOptions,
    ScoreOptions,
    SimilarOptions,
)
from freshrank.serve.client.exchange import (
    Patience,
    RequestTries,
    answer_in,
    checked_url,
    trust_in,
)
from freshrank.serve.client.tables import Rows, Table, check_new, with_scores

T = TypeVar("T")


class Client:
    """Asks the endpoint, and tries again where it does not answer or has too much to do.

    For one thread at a time. A request that is tried again has the same idempotency key, so it is
    not learned from twice. Methods raise RequestError, with its `status`, where the request has to
    be changed, and Unavailable after the last try.


    Parameters
    ----------
    base_url
        Of the endpoint, such as ``http://localhost:8000``. Raises ConfigError without a scheme.
    entity
        The name of the pipeline's entity: a field of its requests.
    api_key
        A key of ``freshrank keys create``; none is needed on loopback.
    patience
        Timeouts and retries.
    http
        A client of httpx of your own, which you close: for proxies and client certificates.
    ca_file
        Certificates (PEM) to trust, where the endpoint's is of an authority of your own, or is its
        own authority. By default those of `httpx`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        entity: str = "user",
        api_key: str | None = None,
        patience: Patience | None = None,
        http: httpx.Client | None = None,
        ca_file: Path | str | None = None,
    ) -> None:
        self._base_url = checked_url(base_url)
        self._api_key = api_key
        self._patience = patience or Patience()
        self._calls = Calls(entity)
        self._http = httpx.Client(verify=trust_in(ca_file)) if http is None else http
        self._owns = http is None

    def score(
        self,
        key: ItemId,
        candidates: Rows,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreAnswer:
        """The scores of `candidates` for the entity `key` (POST /v1/score).

        `candidates` are mappings, or a table of pandas or Arrow.
        """
        return self._send(self._calls.score(key, candidates, options, idempotency_key))

    def score_table(
        self,
        key: ItemId,
        candidates: Table,
        *,
        column: str = "score",
        **options: Unpack[ScoreOptions],
    ) -> Table:
        """The table of candidates, of pandas or Arrow, with their scores as a further column.

        Raises ConfigError where it has a column of that name.
        """
        check_new(candidates, column)
        answer = self._send(self._calls.score(key, candidates, options, None))
        return with_scores(candidates, answer, column)

    def score_batch(
        self,
        requests: Iterable[tuple[ItemId, Rows]],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScoreOptions],
    ) -> BatchAnswer:
        """For several entities, the scores of the candidates of each (POST /v1/score/batch).

        `requests` are pairs of a key and its candidates. Raises TypeError for others.
        """
        return self._send(self._calls.score_batch(requests, options, idempotency_key))

    def recommend(
        self,
        key: ItemId,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[RecommendOptions],
    ) -> RecommendAnswer:
        """The items that the model ranks first for the entity `key` (POST /v1/recommend)."""
        return self._send(self._calls.recommend(key, options, idempotency_key))

    def next_page(
        self, following: str, *, idempotency_key: str | None = None, **options: Unpack[PageOptions]
    ) -> RecommendAnswer:
        """The page after the answer whose `next` is `following` (POST /v1/recommend/next)."""
        return self._send(self._calls.next_page(following, options, idempotency_key))

    def similar(self, items: Sequence[ItemId], **options: Unpack[SimilarOptions]) -> SimilarAnswer:
        """The items that are most like `items` (POST /v1/similar)."""
        return self._send(self._calls.similar(items, options))

    def explain(
        self, key: ItemId, candidates: Rows, **options: Unpack[ExplainOptions]
    ) -> ExplainAnswer:
        """What the inputs add to the scores of a few candidates (POST /v1/explain)."""
        return self._send(self._calls.explain(key, candidates, options))

    def send_events(self, events: Rows, *, stream: str | None = None) -> EventsAnswer:
        """Write events, or one, to the topic of a stream (POST /v1/events).

        `stream` is its name, where the pipeline has several.
        """
        return self._send(self._calls.events(events, stream))

    def features(self, key: ItemId, *, entity: str | None = None) -> FeaturesAnswer:
        """The features of an entity as of now (GET /v1/features/{entity}/{id}).

        `entity` is its kind, if it is not that of the requests.
        """
        return self._send(self._calls.features(key, entity))

    def forget(self, key: ItemId) -> ForgetAnswer:
        """Forget the entity of the requests that has this key (DELETE /v1/entities/{entity}/{id}).

        The answer comes when that is in the log; the parts follow within seconds.
        """
        return self._send(self._calls.forget(key))

    def status(self) -> Statuses:
        """The metrics of all parts, by part (GET /v1/status)."""
        return self._send(self._calls.status())

    def close(self) -> None:
        """Close the connections, unless they are those of an `http` that was given."""
        if self._owns:
            self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call[T]) -> T:
        tries = RequestTries(call, self._base_url, self._api_key, self._patience)
        while True:
            outcome = self._try(tries)
            pause_s = tries.pause_s(outcome)
            if pause_s is None:
                return answer_in(call, outcome)
            time.sleep(pause_s)

    def _try(self, tries: RequestTries) -> httpx.Response | httpx.TransportError:
        try:
            return self._http.request(
                tries.method,
                tries.url,
                content=tries.content,
                headers=tries.headers,
                timeout=tries.timeout_s,
            )
        except httpx.TransportError as error:
            return error
