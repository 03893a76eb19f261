"""Diversity: items of a list that share few values of the catalogue's fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.serve.experiments.explored_list import Choices

Rows = Sequence[Mapping[str, JsonValue]]
"""By field, what the catalogue says of each item."""


@dataclass(frozen=True, slots=True)
class Mmr:
    """Maximal marginal relevance: items that are worth much and are unlike those before them.

    The similarity of two items is the share of `fields` in which they have the same value; None is
    like nothing. Worth is scaled, so that the least of all items is 0 and the greatest 1.
    """

    weight: float
    """Of an item's worth, from 0 to 1; the rest is the weight of its greatest similarity to an item
    before it."""
    fields: Sequence[str]


@dataclass(frozen=True, slots=True)
class Diversity:
    """How the items of a list have to differ.

    >>> rows = [{"brand": "a"}, {"brand": "a"}, {"brand": None}, {"brand": "b"}]
    >>> worth = np.array([0.8, 0.9, 0.5, 0.4])
    >>> Diversity(most_per={"brand": 1}).choose([1, 0, 2, 3], rows, worth, 3)
    [1, 2, 3]
    >>> Diversity(mmr=Mmr(0.5, ["brand"])).choose([1, 0, 2, 3], rows, worth, 3)
    [1, 2, 3]
    """

    most_per: Mapping[str, int] = field(default_factory=dict)
    """By field, how many items may share a value. Items whose field is None do not count."""
    mmr: Mmr | None = None

    @property
    def wanted(self) -> bool:
        """Whether any of it is asked for."""
        return bool(self.most_per) or self.mmr is not None

    def pages(
        self, order: Sequence[int], rows: Rows, worth: Doubles, k: int, most: int
    ) -> list[list[int]]:
        """At most `most` lists of at most `k`, each chosen of what those before it left."""
        found, left = list[list[int]](), list(order)
        while len(found) < most and (page := self.choose(left, rows, worth, k)):
            found.append(page)
            taken = set(page)
            left = [index for index in left if index not in taken]
        return found

    def choices(self, rows: Rows, worth: Doubles) -> Choices:
        """The same items, to be chosen one after the other in any order.

        `rows` and `worth`, float64[n] or [1 + s, n], are of the items, the best first.
        """
        return _DiverseChoices(self, rows, worth)

    def choose(self, order: Sequence[int], rows: Rows, worth: Doubles, k: int) -> list[int]:
        """At most `k` of `order`, the first first.

        Greedy: each item is taken that the items before it leave room for; with `mmr`, the one that
        is best beside those before it.

        Parameters
        ----------
        order
            Indices of `rows` and `worth`, the best first.
        rows
            What the catalogue says of each item.
        worth
            float64[n]: what `mmr` weighs.
        k
            Items wanted.
        """
        if not self.wanted:
            return list(order[:k])
        if self.mmr is not None:
            places = np.array(order, dtype=np.int64)
            choices = self.choices([rows[index] for index in order], worth[places])
            return [order[place] for place in _best_first(choices, k)]
        room, chosen = _Room(self.most_per), list[int]()
        for index in order:
            if len(chosen) == k:
                break
            if room.take(rows[index]):
                chosen.append(index)
        return chosen


class _Room:
    """How many items of each value there may still be."""

    def __init__(self, most_per: Mapping[str, int]) -> None:
        self._most_per = most_per
        self._counts = {name: Counter[JsonValue]() for name in most_per}

    def take(self, row: Mapping[str, JsonValue]) -> bool:
        """Take an item, if there is room for it."""
        values = [(name, row.get(name)) for name in self._most_per]
        if any(self._counts[name][value] >= self._most_per[name] for name, value in values):
            return False
        for name, value in values:
            if value is not None:
                self._counts[name][value] += 1
        return True


def _best_first(choices: Choices, k: int) -> Iterator[int]:
    """At most `k` places, each the best beside those before it."""
    for _ in range(k):
        values = choices.values()
        if not (values > -np.inf).any():
            return
        place = int(values.argmax())
        choices.take(place)
        yield place


class _DiverseChoices:
    """What items are worth beside those taken, -inf where there is no room (see `Choices`)."""

    def __init__(self, diversity: Diversity, rows: Rows, worth: Doubles) -> None:
        self._most = list(diversity.most_per.values())
        self._of_limits = _numbered(rows, list(diversity.most_per))
        self._left = np.ones(len(rows), dtype=np.bool_)
        self._mmr, self._worth = diversity.mmr, worth
        self._likeness = np.zeros(len(rows))
        if diversity.mmr is not None:
            self._of_mmr = _numbered(rows, diversity.mmr.fields)
            self._worth = diversity.mmr.weight * _scaled(worth)
        self._counts: Counter[tuple[int, int]] = Counter()

    def values(self) -> Doubles:
        """See `Choices`."""
        worth = self._worth
        if self._mmr is not None:
            worth = worth - (1.0 - self._mmr.weight) * self._likeness
        return np.where(self._left, worth, -np.inf)

    def take(self, place: int) -> None:
        """See `Choices`."""
        self._left[place] = False
        for limit, most in enumerate(self._most):
            value = int(self._of_limits[place, limit])
            self._counts[limit, value] += 1
            if self._counts[limit, value] == most:
                self._left &= self._of_limits[:, limit] != value
        if self._mmr is not None:
            alike = (self._of_mmr == self._of_mmr[place]).mean(axis=1)
            np.maximum(self._likeness, alike, out=self._likeness)


def _numbered(rows: Rows, fields: Sequence[str]) -> Ints:
    """int64[n, f]: equal numbers where values are equal; each None has a number of its own."""
    columns = list[list[int]]()
    for name in fields:
        numbers: dict[JsonValue, int] = {}
        column = [row.get(name) for row in rows]
        columns.append(
            [
                -1 - place if value is None else numbers.setdefault(value, len(numbers))
                for place, value in enumerate(column)
            ]
        )
    return np.array(columns, dtype=np.int64).T


def _scaled(worth: Doubles) -> Doubles:
    """From 0 to 1, by each weights apart; 1 where all are equal.

    >>> _scaled(np.array([2.0, 4.0, 3.0])).tolist(), _scaled(np.array([2.0, 2.0])).tolist()
    ([0.0, 1.0, 0.5], [1.0, 1.0])
    """
    if not worth.size:
        return worth
    least = worth.min(axis=-1, keepdims=True)
    spread = worth.max(axis=-1, keepdims=True) - least
    found: Doubles = np.divide(worth - least, spread, where=spread > 0, out=np.ones_like(worth))
    return found
