"""POST /v1/recommend: the items of the catalogue that the model ranks first for an entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from freshrank.actors.features.retrieval import Query, Retrieved, Retriever
from freshrank.serve.api.recommendation_answers import Note, RecommendAnswer, RecommendedItem
from freshrank.serve.api.requests import rounded
from freshrank.serve.api.responses import FeatureInfo
from freshrank.serve.recommendation.diversity import diverse
from freshrank.serve.recommendation.found_items import FoundItems
from freshrank.serve.recommendation.requests import RecommendCall, RecommendDecoder
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.scoring.feature_reader import StoredRow
from freshrank.serve.scoring.impression_log import ScoredRequest
from freshrank.serve.scoring.service import ScoringService


class Recommender:
    """Retrieves candidates, scores them as the service scores those of requests, and ranks them.

    What it answers is logged as shown, so that it is learned from.
    """

    def __init__(
        self, service: ScoringService, retriever: Retriever, types: SelectionTypes
    ) -> None:
        self.decoder = RecommendDecoder(service.pipeline, retriever, types)
        self._service = service
        self._retriever = retriever
        self._items = FoundItems(retriever)

    async def recommend(self, body: bytes) -> RecommendAnswer:
        """Answer a request. Raises RequestError, StaleParameters and Unavailable."""
        service, clock = self._service, self._service.connectors.clock
        call = self.decoder.decode(body)
        begun = clock.monotonic()
        key = await service.begin(call.key, call.min_version, call.max_model_age_ms)
        own = await service.read_own(key)
        found = self._retriever.retrieve(self._query(call, own))
        if found.items:
            rows = await service.read_rows(key, found.columns, own)
            answer = self._ranked(call, found, service.scored(rows, found.columns))
        else:
            answer = self._nothing(call, found, own)
        features, ended = answer.features, clock.monotonic()
        service.metrics.recommended(begun, ended, answer.candidates, features)
        return answer

    def _query(self, call: RecommendCall, own: Sequence[StoredRow]) -> Query:
        return Query(
            most=call.candidates,
            at_ms=self._service.connectors.clock.now_ms(),
            rows=[stored.row for stored in own],
            filters=call.selection.filters,
            exclude=call.selection.exclude,
            exclude_seen=call.exclude_seen,
            sources=call.sources,
        )

    def _ranked(
        self, call: RecommendCall, found: Retrieved, scored: ScoredRequest
    ) -> RecommendAnswer:
        selection = call.selection
        order = scored.ranking().tolist()
        best = diverse(order, found.rows, selection.most_per, selection.k)
        self._service.show(scored, np.array(best[: call.show], dtype=np.int64))
        scores = rounded(scored.scores[best])
        items = [
            RecommendedItem(
                self._items.id(found.items[index]),
                score,
                dict(found.rows[index]),
                self._items.sources(found.origins[index]),
            )
            for index, score in zip(best, scores, strict=True)
        ]
        count = len(order)
        return RecommendAnswer(
            request_id=scored.request_id,
            model=scored.model,
            features=scored.features,
            items=items,
            candidates=count,
            found=dict(found.found),
            notes=[
                *_of_rows(scored.features, scored.outage),
                *self._items.notes(selection.k, count, len(items)),
            ],
        )

    def _nothing(
        self, call: RecommendCall, found: Retrieved, own: Sequence[StoredRow]
    ) -> RecommendAnswer:
        service = self._service
        at_ms = service.connectors.clock.now_ms()
        features = service.freshness(service.pipeline.entity, own, at_ms)
        return RecommendAnswer(
            request_id=service.new_request_id(),
            model=service.model.info(),
            features=features,
            items=[],
            candidates=0,
            found=dict(found.found),
            notes=[
                *_of_rows(features, features.source == "outage"),
                *self._items.notes(call.selection.k, 0, 0),
            ],
        )


def _of_rows(features: FeatureInfo, outage: bool) -> Iterator[Note]:
    if outage:
        yield Note("outage", "the online store did not answer, and not all rows are known")
    elif features.source == "new":
        yield Note("new_entity", "it has no row yet: candidates do not depend on what it did")
