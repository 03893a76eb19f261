"""Touched: the items that the entity touched itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import (
    Ask,
    CandidateSource,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue


@dataclass(frozen=True)
class Touched(CandidateSource):
    """The items that the entity touched last, the newest first: to go on, or to buy again.

    They are those that features of the entity list (``LastK("item_id", k=10)``). Requests leave
    them out unless they say so (``"exclude_seen": false``). The ``j``-th newest weighs ``1 / j``.

    Parameters
    ----------
    learned
        Whether the weight of a candidate is also an input of the model, in each request. Without it
        the model does not know how lately the entity touched a candidate.
    """

    learned: bool = True

    @property
    def name(self) -> str:
        """``touched``."""
        return "touched"

    def check(self, items: ItemFeatures, place: str) -> None:
        """It needs nothing of items."""

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _TouchedIndex()


class _TouchedIndex(SourceIndex):
    """Answers from the query alone."""

    def rebuild(self) -> None:
        """There is nothing to make."""

    def find(self, ask: Ask) -> Found:
        """Those that are allowed."""
        wanted = ask.allowed[ask.recent]
        return Found(ask.recent[wanted][: ask.most], _weights(ask.recent)[wanted][: ask.most])

    def weigh(self, slots: Ints, recent: Ints, totals: Found) -> Doubles:
        """The same weights; 0 for what was not touched lately.

        >>> none = Found(np.zeros(0, dtype=np.int64), np.zeros(0))
        >>> _TouchedIndex().weigh(np.array([7, 3, 5]), np.array([5, 7]), none).tolist()
        [0.5, 0.0, 1.0]
        """
        same = slots[:, None] == recent
        found: Doubles = same @ _weights(recent)
        return found


def _weights(recent: Ints) -> Doubles:
    return 1.0 / np.arange(1.0, len(recent) + 1.0)
