"""A list of items that explores: what was drawn, by what propensity, and what would have been."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import xxhash

from freshrank.actors.impressions import ExploredItems
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.serve.experiments.exploration import Exploration, by_present_weights, draw

OF_ITEMS, OF_WEIGHTS = 0, 1
"""What random numbers draw: see `seed_of`."""


class Choices(Protocol):
    """Items to choose from, one after the other."""

    def values(self) -> Doubles:
        """float64[n]: what each is worth beside those taken so far; -inf: it may not be taken.

        Or float64[1 + s, n], by several weights; of an item that may not be taken all are -inf.
        """
        ...

    def take(self, place: int) -> None:
        """Take an item, which may not be taken again."""
        ...


class PlainChoices:
    """Items that are worth the same whatever was taken before: float64[n] or [1 + s, n]."""

    def __init__(self, worth: Doubles) -> None:
        self._values = worth.copy()

    def values(self) -> Doubles:
        """See `Choices`."""
        return self._values

    def take(self, place: int) -> None:
        """See `Choices`."""
        self._values[..., place] = -np.inf


class ExploredList(NamedTuple):
    """The ``k`` items of a list, by their places among the candidates."""

    places: Ints
    """int64[k]."""
    propensities: Floats
    """float32[k]: the probability by which each was drawn, given those before it."""
    greedy: Ints
    """int64[k]: the item that was best of those left, at each position."""

    @property
    def explored(self) -> int:
        """At how many positions it is another one."""
        return int((self.places != self.greedy).sum())

    def items(self, scores: Floats, shown: int) -> ExploredItems:
        """The first `shown` of it for an impression; `scores` float32[n] are of the candidates."""
        places, greedy = self.places[:shown], self.greedy[:shown]
        return ExploredItems(
            self.propensities[:shown].tobytes(),
            (places == greedy).tobytes(),
            scores[greedy].tobytes(),
        )

    def before(self, ranking: Ints) -> Ints:
        """int64[n]: this list, then what is left of `ranking` int64[n] in its order."""
        return np.concatenate([self.places, ranking[~np.isin(ranking, self.places)]])


def seed_of(request_id: str, purpose: int) -> int:
    """Of random numbers that follow from the id of a request: others for each purpose."""
    return xxhash.xxh64_intdigest(request_id.encode(), seed=purpose)


def explored_list(
    exploration: Exploration, choices: Choices, most: int, request_id: str
) -> ExploredList:
    """Draw at most `most` items.

    The random numbers follow from the id of the request: where it is repeated, it gets the same
    list of the same scores.
    """
    random = np.random.default_rng(seed_of(request_id, OF_ITEMS))
    places, propensities, greedy = list[int](), list[float](), list[int]()
    while len(places) < most:
        values = choices.values()
        left = np.flatnonzero(by_present_weights(values) > -np.inf)
        if not len(left):
            break
        drawn = draw(exploration, values[..., left], random)
        place = int(left[drawn.place])
        choices.take(place)
        places.append(place)
        propensities.append(drawn.propensity)
        greedy.append(int(left[drawn.greedy]))
    return ExploredList(
        np.array(places, dtype=np.int64),
        np.array(propensities, dtype=np.float32),
        np.array(greedy, dtype=np.int64),
    )
