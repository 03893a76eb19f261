"""CoVisited: the items that the users of the same items touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import inlined, lean_kernel
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    FeaturePlace,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.slot_arrays import filled
from freshrank.feature_actors.retrieval.sources.last_users import (
    MOST_RECENT,
    LastUsersSource,
    NeighbourIndex,
    strongest,
)

# A user who is among those of more items is no person, and would relate everything to everything.
_MOST_ITEMS_OF_USER = 500


@inlined
def _first_place(ascending: Ints, wanted: int) -> int:
    """The place of the first of `ascending` that is not less than `wanted`."""
    begin, end = 0, len(ascending)
    while begin < end:
        middle = (begin + end) >> 1
        if ascending[middle] < wanted:
            begin = middle + 1
        else:
            end = middle
    return begin


@lean_kernel
def _count_shared(own: Ints, users: Ints, slots: Ints, counts: Ints) -> None:
    """How many users, 0 for none, of each of `slots` int64[m] are among `own`, which ascend."""
    for item in range(len(slots)):
        for entry in range(users.shape[1]):
            user = users[slots[item], entry]
            place = _first_place(own, user)
            if user != 0 and place < len(own) and own[place] == user:
                counts[item] += 1


@lean_kernel
def _add_up(neighbours: Ints, owners: Ints, touched: Ints, sums: Doubles, slots: Ints) -> int:
    """Add what users weigh to the `sums` float64[s] of the items that they touched.

    `neighbours` int64[r, w] are the users of the entity's items, the newest first; 0: none. Who
    touched what are pairs, `owners` int64[p], ascending, and `touched` int64[p]. `slots` gets the
    items that have a sum. Returns how many.
    """
    count = 0
    for item in range(len(neighbours)):
        for entry in range(neighbours.shape[1]):
            user = neighbours[item, entry]
            if user == 0:
                continue
            begin = end = _first_place(owners, user)
            past = min(begin + _MOST_ITEMS_OF_USER + 1, len(owners))
            while end < past and owners[end] == user:
                end += 1
            if not 0 < end - begin <= _MOST_ITEMS_OF_USER:
                continue
            share = 1.0 / ((1.0 + item) * np.sqrt(end - begin))
            for pair in range(begin, end):
                slot = touched[pair]
                if sums[slot] == 0.0:
                    slots[count] = slot
                    count += 1
                sums[slot] += share
    return count


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
        self._sums: Doubles = np.zeros(0)
        """float64[s]: where `totals` adds up; 0 between two calls."""

    def rebuild(self) -> None:
        """Sort all pairs by user."""
        users = self._users
        slots, places = filled(users)
        ids = users[slots, places]
        order = np.argsort(ids, kind="stable")
        self._touched = _Touched(ids[order], slots[order])
        nobody = NOTHING.slots
        # Compiles what requests would wait for.
        _add_up(users[:0], *self._touched, np.zeros(0), nobody)
        _count_shared(nobody, users, nobody, nobody)

    def because(self, slot: int, recent: Ints) -> Ints:
        """The items that share most users with that in `slot`."""
        if slot >= len(self._users):
            return recent[:0]
        recent = recent[recent < len(self._users)][:MOST_RECENT]
        shared = np.zeros(len(recent), dtype=np.int64)
        _count_shared(np.sort(self._users[slot]), self._users, recent, shared)
        return strongest(recent, shared)

    def totals(self, recent: Ints) -> Found:
        """All items of the neighbours, which weigh as the class says, in the order of slots."""
        recent = recent[recent < len(self._users)][:MOST_RECENT]
        if len(self._sums) < len(self._users):
            self._sums = np.zeros(len(self._users))
        touched, sums = self._touched, self._sums
        slots = np.empty(min(len(touched.users), len(sums)), dtype=np.int64)
        slots = np.sort(slots[: _add_up(self._users[recent], *touched, sums, slots)])
        found = sums[slots]
        sums[slots] = 0.0
        owners = np.count_nonzero(self._users[slots], axis=1)
        return Found(slots, found / np.sqrt(np.maximum(owners, 1)))
