"""The last users of each item, which several sources are made from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.retrieval.base import (
    Ask,
    CandidateSource,
    FeaturePlace,
    Found,
    ItemFeatures,
    SourceIndex,
    relative_weights,
)
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.slot_arrays import grown, places_of, put

MOST_RECENT = 20
"""Items of the entity that others are looked for by."""
# Of those that led to a candidate, how many an answer names.
_MOST_REASONS = 3


def strongest(recent: Ints, weights: Ints | Floats | Doubles) -> Ints:
    """int64[m]: the recent items of most weight above 0, which led to a candidate.

    >>> strongest(np.array([7, 8, 9]), np.array([1, 0, 4])).tolist()
    [9, 7]
    """
    order = np.argsort(-weights, kind="stable")
    found: Ints = recent[order[weights[order] > 0]]
    return found[:_MOST_REASONS]


@dataclass(frozen=True)
class LastUsersSource(CandidateSource):
    """A source that finds items for others by the last users of each.

    Parameters
    ----------
    users
        A feature of items that lists the users who touched them last, without repeats:
        ``LastK("user_id", k=32, repeats=False, learned=False)``.
    """

    users: str
    kind: ClassVar[str]
    """What answers and metrics call all sources of the class."""
    similar = True

    @property
    def name(self) -> str:
        """Such as ``co_visited:users``."""
        return f"{self.kind}:{self.users}"

    def check(self, items: ItemFeatures, place: str) -> None:
        """Raise ConfigError where items have no such feature, or it lists something else."""
        found, key = items.bag(self.users, f"{place}.users"), items.stream.key.key
        bags = {bag.field.name: bag.source for bag in found.table.layout.bags}
        if bags[self.users] != key:
            raise ConfigError(
                f"{place}.users",
                f"{self.users!r} lists {bags[self.users]!r}, not {key!r}",
                f'Declare LastK("{key}", k=32, repeats=False, learned=False) in a view of items.',
            )


class LastUsersIndex(SourceIndex):
    """An index that is made from the last users of each item."""

    def __init__(self, users: FeaturePlace, catalogue: ItemCatalogue) -> None:
        self.features = (users,)
        self._place = users
        self._catalogue = catalogue
        self._users: Ints = np.zeros((0, users.width), dtype=np.int64)
        """int64[s, w]: ids of users by slot; 0: none."""

    def take(self, slots: Ints, blocks: Mapping[str, FeatureBlock]) -> bool:
        """Note the users."""
        self._users = grown(self._users, self._catalogue.capacity)
        begin, end = self._place.begin, self._place.begin + self._place.width
        return put(self._users, slots, blocks[self._place.table.name].ids[:, begin:end])

    def forget(self, slots: Ints) -> bool:
        """Nobody is known to have touched new items: where nobody was, the index stays as it is."""
        self._users = grown(self._users, self._catalogue.capacity)
        known = bool(self._users[slots].any())
        self._users[slots] = 0
        return known


class NeighbourIndex(LastUsersIndex):
    """An index that gives all items a weight, which finds the best and is an input of the model."""

    @abstractmethod
    def totals(self, recent: Ints) -> Found:
        """All items that it speaks for, in the order of their slots."""

    def find(self, ask: Ask) -> Found:
        """The items of most weight that are allowed, without the recent ones."""
        found = ask.totals
        wanted = ask.allowed[found.slots]
        wanted[places_of(found.slots, ask.recent)] = False
        slots, weights = found.slots[wanted], found.weights[wanted]
        best = np.argsort(-weights, kind="stable")[: ask.most]
        return Found(slots[best], weights[best])

    def weigh(self, slots: Ints, recent: Ints, totals: Found) -> Doubles:
        """The same weights, of given items, the recent ones among them, in tens of their mean."""
        return relative_weights(totals, slots)
