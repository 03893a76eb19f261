"""Means of named numbers, of which newer observations count for more."""

from __future__ import annotations

from collections.abc import Mapping


class DecayedMeans:
    """The mean of each name's numbers; an observation counts half after `half_life` newer ones.

    The first observations have no older ones beside them, so means are right from the start.

    >>> means = DecayedMeans(half_life=1)
    >>> means.add({"price": 3.0, "views": 1.0})
    >>> means.add({"price": 0.0, "views": 1.0})
    >>> means.largest(5), means.largest(1)
    ({'price': 1.0, 'views': 1.0}, {'price': 1.0})
    """

    def __init__(self, half_life: int) -> None:
        self._kept = 0.5 ** (1.0 / half_life)
        self._weight = 0.0
        self._sums: dict[str, float] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Take one observation, of the same names as those before."""
        self._weight = self._kept * self._weight + 1.0
        for name, number in numbers.items():
            self._sums[name] = self._kept * self._sums.get(name, 0.0) + number

    def largest(self, most: int) -> dict[str, float]:
        """The `most` names with the largest means, the largest first."""
        names = sorted(self._sums, key=lambda name: -self._sums[name])[:most]
        return {name: self._sums[name] / self._weight for name in names}
