"""The client of the REST API for asyncio."""

from __future__ import annotations

import asyncio
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


class AsyncClient:
    """As `Client`, for asyncio: its methods are awaited.

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
        http: httpx.AsyncClient | None = None,
        ca_file: Path | str | None = None,
    ) -> None:
        self._base_url = checked_url(base_url)
        self._api_key = api_key
        self._patience = patience or Patience()
        self._calls = Calls(entity)
        self._http = httpx.AsyncClient(verify=trust_in(ca_file)) if http is None else http
        self._owns = http is None

    async def score(
        self,
        key: ItemId,
        candidates: Rows,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScoreOptions],
    ) -> ScoreAnswer:
        """See `Client.score`."""
        return await self._send(self._calls.score(key, candidates, options, idempotency_key))

    async def score_table(
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
        answer = await self._send(self._calls.score(key, candidates, options, None))
        return with_scores(candidates, answer, column)

    async def score_batch(
        self,
        requests: Iterable[tuple[ItemId, Rows]],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[ScoreOptions],
    ) -> BatchAnswer:
        """See `Client.score_batch`."""
        return await self._send(self._calls.score_batch(requests, options, idempotency_key))

    async def recommend(
        self,
        key: ItemId,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[RecommendOptions],
    ) -> RecommendAnswer:
        """See `Client.recommend`."""
        return await self._send(self._calls.recommend(key, options, idempotency_key))

    async def next_page(
        self, following: str, *, idempotency_key: str | None = None, **options: Unpack[PageOptions]
    ) -> RecommendAnswer:
        """See `Client.next_page`."""
        return await self._send(self._calls.next_page(following, options, idempotency_key))

    async def similar(
        self, items: Sequence[ItemId], **options: Unpack[SimilarOptions]
    ) -> SimilarAnswer:
        """See `Client.similar`."""
        return await self._send(self._calls.similar(items, options))

    async def explain(
        self, key: ItemId, candidates: Rows, **options: Unpack[ExplainOptions]
    ) -> ExplainAnswer:
        """See `Client.explain`."""
        return await self._send(self._calls.explain(key, candidates, options))

    async def send_events(self, events: Rows, *, stream: str | None = None) -> EventsAnswer:
        """See `Client.send_events`."""
        return await self._send(self._calls.events(events, stream))

    async def features(self, key: ItemId, *, entity: str | None = None) -> FeaturesAnswer:
        """See `Client.features`."""
        return await self._send(self._calls.features(key, entity))

    async def forget(self, key: ItemId) -> ForgetAnswer:
        """See `Client.forget`."""
        return await self._send(self._calls.forget(key))

    async def status(self) -> Statuses:
        """See `Client.status`."""
        return await self._send(self._calls.status())

    async def close(self) -> None:
        """Close the connections, unless they are those of an `http` that was given."""
        if self._owns:
            await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: Call[T]) -> T:
        tries = RequestTries(call, self._base_url, self._api_key, self._patience)
        while True:
            outcome = await self._try(tries)
            pause_s = tries.pause_s(outcome)
            if pause_s is None:
                return answer_in(call, outcome)
            await asyncio.sleep(pause_s)

    async def _try(self, tries: RequestTries) -> httpx.Response | httpx.TransportError:
        try:
            return await self._http.request(
                tries.method,
                tries.url,
                content=tries.content,
                headers=tries.headers,
                timeout=tries.timeout_s,
            )
        except httpx.TransportError as error:
            return error
