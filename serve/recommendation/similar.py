"""POST /v1/similar: the items of the catalogue that are most like given ones, without the model."""

from __future__ import annotations

import numpy as np

from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Query, Retriever
from freshrank.serve.api.recommendation_answers import SimilarAnswer, SimilarItem
from freshrank.serve.recommendation.found_items import FoundItems
from freshrank.serve.recommendation.requests import SimilarCall, SimilarDecoder
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.scoring.service import ScoringService

# Items to choose different ones from, for each that is wanted, where they have to differ.
_CHOICE = 10
# Decimals of a similarity.
_DECIMALS = 6


class SimilarItems:
    """Answers what the sources that find items for others find. Nothing is logged as shown."""

    def __init__(
        self, service: ScoringService, retriever: Retriever, types: SelectionTypes
    ) -> None:
        self.decoder = SimilarDecoder(types)
        self._service = service
        self._retriever = retriever
        self._items = FoundItems(retriever)

    def similar(self, body: bytes) -> SimilarAnswer:
        """Answer a request. Raises RequestError."""
        if not self._retriever.similar:
            reason = (
                "no source finds items for others: add CoVisited(...) or SimilarContent(...) to "
                "`candidates`"
            )
            raise RequestError("path", reason, status=404)
        call = self.decoder.decode(body)
        known = [key for key in call.items if self._retriever.knows(key)]
        if not known:
            names = ", ".join(call.items)
            raise RequestError("items", f"the catalogue has none of {names}", status=404)
        found = self._retriever.retrieve(self._query(call, known))
        selection, count = call.selection, len(found.items)
        # Weights of different sources are not comparable: what is worth more is what comes first.
        worth = -np.arange(count, dtype=np.float64)
        best = selection.diversity.choose(range(count), found.rows, worth, selection.k)
        items = [
            SimilarItem(
                self._items.id(found.items[index]),
                round(float(found.weights[index]), _DECIMALS),
                dict(found.rows[index]),
                self._items.sources(found.origins[index]),
            )
            for index in best
        ]
        return SimilarAnswer(
            items=items,
            unknown=[self._items.id(key) for key in call.items if key not in known],
            candidates=count,
            found=dict(found.found),
            notes=list(self._items.notes(selection.k, found, len(items))),
        )

    def _query(self, call: SimilarCall, known: list[str]) -> Query:
        selection = call.selection
        most = selection.k * (_CHOICE if selection.diversity.wanted else 1)
        return Query(
            most=most,
            at_ms=self._service.connectors.clock.now_ms(),
            items=known,
            filters=selection.filters,
            exclude=selection.exclude.union(known),
            sources=self._retriever.similar,
        )
