"""CoVisited: the items that the users of the same items touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    FeaturePlace,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.sources.last_users import (
    MOST_RECENT,
    LastUsersSource,
    NeighbourIndex,
    strongest,
)

# A user who is among those of more items is no person, and would relate everything to everything.
_MOST_ITEMS_OF_USER = 500


@dataclass(frozen=True)
class CoVisited(LastUsersSource):
    """The items that were touched by the users who touched what the entity touched last.

    A neighbourhood method over the last users of each item, as of Vector-Multiplication-Indexed-
    Session-kNN (Kersbergen, Sprangers, Schelter: "Serenade", SIGMOD 2022): a user ``u`` who is
    among those of the entity's ``j``-th newest item weighs ``1 / j``, summed over these items and
    divided by the root of how many items ``u`` is among the users of; an item weighs the sum of its
    users, divided by the root of how many it has, so that what everybody touches does not win by
    that alone.

    Parameters
    ----------
    users
        As of `LastUsersSource`.
    learned
        Whether the weight of a candidate is also an input of the model, in each request, in tens
        of the mean of what it weighs. Without it the model does not know why a candidate is one.
    """

    learned: bool = True
    kind = "co_visited"

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _CoVisitedIndex(items.bag(self.users, "users"), catalogue)


class _Touched(NamedTuple):
    """Pairs of user and item, sorted by user."""

    users: Ints
    """int64[p]."""
    slots: Ints
    """int64[p]."""


class _CoVisitedIndex(NeighbourIndex):
    """The last users of each item, and for each of these users the items."""

    def __init__(self, users: FeaturePlace, catalogue: ItemCatalogue) -> None:
        super().__init__(users, catalogue)
        self._touched = _Touched(NOTHING.slots, NOTHING.slots)

    def rebuild(self) -> None:
        """Sort all pairs by user."""
        users = self._users
        slots, places = np.nonzero(users)
        ids = users[slots, places]
        order = np.argsort(ids, kind="stable")
        self._touched = _Touched(ids[order], slots[order])

    def because(self, slot: int, recent: Ints) -> Ints:
        """The items that share most users with that in `slot`."""
        if slot >= len(self._users):
            return recent[:0]
        recent = recent[recent < len(self._users)][:MOST_RECENT]
        users = np.sort(self._users[slot])
        theirs = self._users[recent]
        places = np.minimum(np.searchsorted(users, theirs), len(users) - 1)
        shared = np.count_nonzero((users[places] == theirs) & (theirs != 0), axis=1)
        return strongest(recent, shared)

    def totals(self, recent: Ints) -> Found:
        """All items of the neighbours, which weigh as the class says, in the order of slots."""
        recent = recent[recent < len(self._users)][:MOST_RECENT]
        users, weights = self._neighbours(recent)
        begins = np.searchsorted(self._touched.users, users)
        counts = np.searchsorted(self._touched.users, users, side="right") - begins
        people = (counts > 0) & (counts <= _MOST_ITEMS_OF_USER)
        begins, counts, weights = begins[people], counts[people], weights[people]
        if not len(counts):
            return NOTHING
        # For each neighbour the places of its pairs: begin, begin + 1, ...
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        touched = self._touched.slots[np.repeat(begins, counts) + within]
        slots, inverse = np.unique(touched, return_inverse=True)
        sums = np.bincount(inverse, np.repeat(weights / np.sqrt(counts), counts))
        owners = np.count_nonzero(self._users[slots], axis=1)
        return Found(slots, sums / np.sqrt(np.maximum(owners, 1)))

    def _neighbours(self, recent: Ints) -> tuple[Ints, Doubles]:
        """The users of `recent` items, int64[u], and how much each weighs."""
        ids = self._users[recent]
        weights = np.repeat(1.0 / (1.0 + np.arange(len(recent))), self._place.width)
        users, inverse = np.unique(ids.ravel(), return_inverse=True)
        sums = np.bincount(inverse.ravel(), weights, minlength=len(users))
        real = users != 0
        return users[real], sums[real]
