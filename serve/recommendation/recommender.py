"""POST /v1/recommend: the items of the catalogue that the model ranks first for an entity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from freshrank.actors.features.retrieval import Query, Retrieved, Retriever
from freshrank.actors.features.service import RowLookup
from freshrank.actors.messages import Doubles, Ints
from freshrank.serve.api.recommendation_answers import Note, RecommendAnswer, RecommendedItem
from freshrank.serve.api.requests import rounded
from freshrank.serve.api.responses import FeatureInfo, ModelInfo
from freshrank.serve.experiments.exploration import by_present_weights
from freshrank.serve.experiments.explored_list import (
    ExploredList,
    PlainChoices,
    explored_list,
)
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.recommendation.following_pages import text_of
from freshrank.serve.recommendation.found_items import FoundItems
from freshrank.serve.recommendation.request_context import with_context
from freshrank.serve.recommendation.requests import (
    NextPageCall,
    NextPageDecoder,
    RecommendCall,
    RecommendDecoder,
)
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.scoring.feature_reader import StoredRow, source_of
from freshrank.serve.scoring.impression_log import ScoredRequest
from freshrank.serve.scoring.service import ScoringService


class _Chosen(NamedTuple):
    """What was chosen of the candidates."""

    places: Ints
    """int64[m]: the indices of the items that are answered, among the candidates."""
    next: str | None
    boosted: Doubles | None
    """float64[n]: what candidates were ranked by, where the request has boosts."""
    explored: ExploredList | None = None
    """How the items were drawn, where the list explores."""
    before: int = 0
    """Items on the pages before."""


class Recommender:
    """Retrieves candidates, scores them as the service scores those of requests, and ranks them.

    What it answers is logged as shown, so that it is learned from.
    """

    def __init__(
        self,
        service: ScoringService,
        retriever: Retriever,
        types: SelectionTypes,
        explainer: Explainer,
    ) -> None:
        self.decoder = RecommendDecoder(service.pipeline, retriever, types)
        self.next_decoder = NextPageDecoder(service.pipeline, retriever)
        self._service = service
        self._retriever = retriever
        self._explainer = explainer
        self._items = FoundItems(retriever)

    async def recommend(self, body: bytes, request_id: str | None = None) -> RecommendAnswer:
        """Answer a request; `request_id` where it is repeated under the same one.

        Raises RequestError, StaleParameters and Unavailable.
        """
        return await self._answer(self.decoder.decode(body), request_id)

    async def next_page(self, body: bytes, request_id: str | None = None) -> RecommendAnswer:
        """Answer a request for a following page.

        Its items are those that were ranked, in that order, but for those that have left the
        catalogue since. Raises RequestError, StaleParameters and Unavailable.
        """
        return await self._answer(self.next_decoder.decode(body), request_id)

    async def _answer(
        self, call: RecommendCall | NextPageCall, request_id: str | None
    ) -> RecommendAnswer:
        service, clock = self._service, self._service.connectors.clock
        begun = clock.monotonic()
        key = await service.begin(call.key, call.wanted)
        own = await service.read_own(key)
        # Candidates do not depend on a row that is not read now, though it is when they are scored.
        outage = source_of(own) == "outage"
        retrieves = isinstance(call, RecommendCall) and not call.sources
        assigned = service.experiments.of(key, retrieves=retrieves, pinned=call.wanted.pinned)
        if isinstance(call, RecommendCall):
            sources = call.sources or assigned.sources
            found = self._retriever.retrieve(self._query(key, call, own, sources))
        else:
            found = self._retriever.look_up(call.following.pages[0])
            assigned = replace(assigned, exploration=None)  # they were drawn, or follow in order
        if found.items:
            columns = with_context(found.columns, call.context, len(found.items))
            rows = await service.read_rows(key, columns, own)
            learned = found.learned or service.weights(rows.found, columns)
            candidates = {**columns, **learned}
            scored = service.scored(rows, candidates, request_id, assigned)
            answer = await self._ranked(call, found, scored, rows.lookups)
            outage = outage or scored.outage
        else:
            model = service.model.at(assigned.pinned).info()
            answer = self._nothing(call, key, found, own, model)
            answer.request_id = request_id or answer.request_id
        answer.notes[:0] = self._of_rows(answer.features, outage)
        if assigned.arms:
            answer.arms = dict(assigned.arms)
        features, ended = answer.features, clock.monotonic()
        service.metrics.recommended(begun, ended, answer.candidates, features)
        return answer

    def _of_rows(self, features: FeatureInfo, outage: bool) -> Iterator[Note]:
        reader = self._service.reader
        if outage and reader.filling and reader.error is None:
            why = "the shards are still writing rows to the online store"
            yield Note("outage", f"{why}, and some of this answer are not there yet")
        elif outage:
            yield Note("outage", "the online store did not answer, and not all rows are known")
        elif features.source == "new":
            yield Note("new_entity", "it has no row yet: candidates do not depend on what it did")

    def _query(
        self, key: str, call: RecommendCall, own: Sequence[StoredRow], sources: Sequence[str]
    ) -> Query:
        return Query(
            most=call.candidates,
            at_ms=self._service.connectors.clock.now_ms(),
            rows=[stored.row for stored in own],
            filters=call.selection.filters,
            exclude=call.selection.exclude,
            exclude_seen=call.exclude_seen,
            sources=sources,
            boosts=call.boosts,
            entity=key,
        )

    async def _ranked(
        self,
        call: RecommendCall | NextPageCall,
        found: Retrieved,
        scored: ScoredRequest,
        lookups: Sequence[RowLookup],
    ) -> RecommendAnswer:
        chosen = (
            _chosen(call, found, scored)
            if isinstance(call, RecommendCall)
            else _following(call, found, scored)
        )
        places = chosen.places
        explained = None
        if call.explain:
            most = self._service.pipeline.limits.explained
            explained = await self._explainer.of_scored(scored, lookups, places[:most])
        shown = places[: call.show]
        self._service.impressions.show(scored, shown, chosen.explored, before=chosen.before)
        items = self._items_of(found, scored, places)
        if chosen.boosted is not None:
            for item, boosted in zip(items, rounded(chosen.boosted[places]), strict=True):
                item.boosted_score = boosted
        if explained is not None:
            for item, one in zip(items, explained, strict=False):
                item.reasons = one.contributions[: call.explain]
        return RecommendAnswer(
            request_id=scored.request_id,
            model=scored.model,
            features=scored.features,
            items=items,
            candidates=len(found.items),
            found=dict(found.found),
            notes=list(self._items.notes(_wanted(call), found, len(items))),
            next=chosen.next,
        )

    def _items_of(
        self, found: Retrieved, scored: ScoredRequest, places: Ints
    ) -> list[RecommendedItem]:
        scores = rounded(scored.scores[places])
        return [
            RecommendedItem(
                self._items.id(found.items[place]),
                score,
                dict(found.rows[place]),
                self._items.sources(found.origins[place]),
            )
            for place, score in zip(places.tolist(), scores, strict=True)
        ]

    def _nothing(
        self,
        call: RecommendCall | NextPageCall,
        key: str,
        found: Retrieved,
        own: Sequence[StoredRow],
        model: ModelInfo,
    ) -> RecommendAnswer:
        service = self._service
        at_ms = service.connectors.clock.now_ms()
        features = service.freshness(service.pipeline.entity, own, at_ms)
        return RecommendAnswer(
            request_id=service.new_request_id(),
            model=model,
            features=features,
            items=[],
            candidates=0,
            found=dict(found.found),
            notes=list(self._items.notes(_wanted(call), found, 0)),
            next=None if isinstance(call, RecommendCall) else call.following.after(key),
        )


def _chosen(call: RecommendCall, found: Retrieved, scored: ScoredRequest) -> _Chosen:
    """The pages of a ranking, of which the first is answered."""
    values = scored.worth
    if found.factors:
        values = _boosted(values, np.array(found.factors))
    worth = by_present_weights(values)
    boosted = worth if found.factors else None
    order = np.argsort(-worth, kind="stable").tolist()
    selection, explored = call.selection, _explored(call, found, scored, order, values)
    pages = list[list[int]]()
    if explored is not None:
        # Of the others the best ones follow: they are drawn no more.
        pages = [explored.places.tolist()]
        order = [place for place in order if place not in pages[0]]
    most = call.pages - len(pages)
    pages += selection.diversity.pages(order, found.rows, worth, selection.k, most)
    following = [[found.items[place] for place in page] for page in pages[1:]]
    first = np.array(pages[0] if pages else [], dtype=np.int64)
    return _Chosen(
        first, text_of(scored.entity, following, len(first), call.context), boosted, explored
    )


def _following(call: NextPageCall, found: Retrieved, scored: ScoredRequest) -> _Chosen:
    """The items of a page that was ranked before."""
    following = call.following
    left = np.arange(len(found.items))
    return _Chosen(left, following.after(scored.entity), None, before=following.before)


def _explored(
    call: RecommendCall, found: Retrieved, scored: ScoredRequest, order: list[int], values: Doubles
) -> ExploredList | None:
    """The first page, drawn of the candidates in `order`; None where the list does not explore.

    `values` float64[n] or [1 + s, n] are what they are worth.
    """
    exploration = scored.assigned.exploration
    if exploration is None:
        return None
    best = np.array(order, dtype=np.int64)
    rows = [found.rows[place] for place in order] if call.selection.diversity.wanted else []
    diversity, worth = call.selection.diversity, values[..., best]
    choices = diversity.choices(rows, worth) if diversity.wanted else PlainChoices(worth)
    drawn = explored_list(exploration, choices, call.selection.k, scored.request_id)
    return drawn._replace(places=best[drawn.places], greedy=best[drawn.greedy])


def _boosted(scores: Doubles, factors: Doubles) -> Doubles:
    """Scores [..., n] times factors [n]; negative ones are divided, so that a boost always raises.

    >>> _boosted(np.array([0.2, -0.2]), np.array([2.0, 2.0])).tolist()
    [0.4, -0.1]
    """
    return np.where(scores >= 0, scores * factors, scores / factors)


def _wanted(call: RecommendCall | NextPageCall) -> int:
    """How many items the page should have."""
    if isinstance(call, RecommendCall):
        return call.selection.k
    return len(call.following.pages[0])
