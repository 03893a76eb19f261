"""FollowedBy: the items that users touched right after the same items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.retrieval.base import (
    NOTHING,
    Found,
    ItemFeatures,
    SourceIndex,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.slot_arrays import filled, grown, put
from freshrank.feature_actors.retrieval.sources.last_users import (
    MOST_RECENT,
    LastUsersSource,
    NeighbourIndex,
    strongest,
)

# Items of a user after one of the entity's that follow it.
_MOST_AFTER = 10
# What everybody touches follows everything, and is not to win by that alone; but to divide by the
# root of its users, as between items that are alike, goes too far: of no division, this root and
# the square root the recall of next items of MovieLens-100k is 0.287, 0.303 and 0.265.
_ROOT_OF_OWNERS = 0.25


@dataclass(frozen=True)
class FollowedBy(LastUsersSource):
    """The items that users touched right after the items that the entity touched last.

    A Markov chain of several orders, as in Fossil (He and McAuley, "Fusing similarity models with
    Markov chains for sparse sequential recommendation", ICDM 2016), counted and not learned: where
    a user of the entity's ``j``-th newest item touched another as the ``k``-th after it, that one
    gets ``1 / (j k)``; an item weighs the sum of these, divided by the fourth root of the number of
    its users.

    Parameters
    ----------
    users
        As of `LastUsersSource`.
    learned
        Whether the weight of a candidate is also an input of the model, in each request, in tens
        of the mean of what it weighs.
    """

    learned: bool = True
    kind = "followed_by"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError where items have no such feature, or it lists something else."""
        super().check(items, place)
        items.last(self.users, f"{place}.users")

    def index(self, items: ItemFeatures, catalogue: ItemCatalogue) -> SourceIndex:
        """A new index."""
        return _FollowedByIndex(items, self.users, catalogue)


class _Touches(NamedTuple):
    """The touches that are known, by user, of each in the order of time."""

    users: Ints
    """int64[p]."""
    slots: Ints
    """int64[p]."""
    places: Ints
    """int64[s, w]: by slot and entry of its list, where it stands here; -1: it is empty."""


class _FollowedByIndex(NeighbourIndex):
    """The last users of each item with their times, sorted to what each user did in turn."""

    def __init__(self, items: ItemFeatures, users: str, catalogue: ItemCatalogue) -> None:
        super().__init__(items.bag(users, "users"), catalogue)
        self._timed = items.last(users, "users")
        self._times: Ints = np.zeros_like(self._users)
        self._touches = _Touches(NOTHING.slots, NOTHING.slots, self._users)

    def take_words(self, slots: Ints, words: Mapping[str, Doubles]) -> bool:
        """Note when the users touched them."""
        self._times = grown(self._times, self._catalogue.capacity)
        _, times = self._timed.read(words)
        return put(self._times, slots, times)

    def forget(self, slots: Ints) -> bool:
        """Nobody is known to have touched new items."""
        self._times = grown(self._times, self._catalogue.capacity)
        return super().forget(slots)

    def rebuild(self) -> None:
        """Sort all touches by user and time."""
        times = self._times
        users = self._users[: len(times)]  # which may have grown a moment ago
        slots, entries = filled(users)
        ids = users[slots, entries]
        order = np.lexsort((times[slots, entries], ids))
        places = np.full(users.shape, -1, dtype=np.int64)
        places[slots[order], entries[order]] = np.arange(len(order))
        self._touches = _Touches(ids[order], slots[order], places)

    def because(self, slot: int, recent: Ints) -> Ints:
        """The items that it followed most often."""
        users, slots, places = self._touches
        if slot >= len(places):
            return recent[:0]
        ends = places[slot][places[slot] >= 0]
        before = np.maximum(ends[:, None] - np.arange(1, _MOST_AFTER + 1), -1)
        same = (before >= 0) & (users[before] == users[ends][:, None])
        counts = np.count_nonzero(slots[before[same]][:, None] == recent[:MOST_RECENT], axis=0)
        return strongest(recent, counts)

    def totals(self, recent: Ints) -> Found:
        """All items that followed, in the order of their slots."""
        users, slots, places = self._touches
        recent = recent[recent < len(places)][:MOST_RECENT]
        turns, entries = np.nonzero(places[recent] >= 0)
        begins = places[recent[turns], entries]
        after = begins[:, None] + np.arange(1, _MOST_AFTER + 1)
        inside = np.minimum(after, len(users) - 1)
        same = (after < len(users)) & (users[inside] == users[begins][:, None])
        if not same.any():
            return NOTHING
        weights = 1.0 / ((turns + 1.0)[:, None] * np.arange(1.0, _MOST_AFTER + 1.0))
        found, inverse = np.unique(slots[inside[same]], return_inverse=True)
        totals = np.bincount(inverse, weights[same])
        owners = np.count_nonzero(places[found] >= 0, axis=1)
        return Found(found, totals / np.maximum(owners, 1) ** _ROOT_OF_OWNERS)
