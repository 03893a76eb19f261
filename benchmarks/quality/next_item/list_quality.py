"""How good lists are, by the place of the one item that was touched next."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Ints


class ListQuality(NamedTuple):
    """The quality of the lists of one ranker."""

    recall: float
    """The share of lists that have the item."""
    recall_error: float
    """Its standard error."""
    ndcg: float
    """The mean of ``1 / log2(1 + place)``; 0 for a list without the item; NaN without lists."""
    seconds: float
    """Of all the ranker's work."""


def quality_of(ranks: Ints, seconds: float) -> ListQuality:
    """The quality of lists; `ranks` int64[n] are the item's places, from 1, or 0.

    With one item to find the ideal gain is 1, so NDCG needs no division.

    >>> quality_of(np.array([1, 3, 0, 0]), 2.0)
    ListQuality(recall=0.5, recall_error=0.25, ndcg=0.375, seconds=2.0)
    """
    if not len(ranks):
        return ListQuality(math.nan, math.nan, math.nan, seconds)
    hit = ranks > 0
    recall = float(hit.mean())
    gains = np.where(hit, 1.0 / np.log2(1.0 + np.maximum(ranks, 1)), 0.0)
    error = math.sqrt(recall * (1.0 - recall) / len(ranks))
    return ListQuality(recall, error, float(gains.mean()), seconds)
