"""How a list of items explores: by what probability each item comes next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles


class Exploration(ABC):
    """A way to show now and then what the model does not rank first, by known probabilities.

    A list is drawn item by item, each of those that are left. What is drawn and what is logged come
    from the same numbers, so propensities are exact for whatever `probabilities` gives.
    """

    @abstractmethod
    def probabilities(self, worth: Doubles) -> Doubles:
        """float64[m]: by which probability each of ``m >= 1`` items comes next; their sum is 1.

        `worth` float64[m] is what they are ranked by, the greatest first.
        """


@dataclass(frozen=True)
class EpsilonGreedy(Exploration):
    """Any of the items that are left with the probability `epsilon`, else the best of them.

    >>> EpsilonGreedy(0.3).probabilities(np.array([0.1, 0.9, 0.2])).round(3).tolist()
    [0.1, 0.8, 0.1]
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise ConfigError(
                "EpsilonGreedy.epsilon",
                f"{self.epsilon!r} is no share of positions to explore",
                "Give a number above 0 and up to 1; 0.05 is usual.",
            )

    def probabilities(self, worth: Doubles) -> Doubles:
        """See `Exploration`."""
        found = np.full(len(worth), self.epsilon / len(worth))
        found[worth.argmax()] += 1.0 - self.epsilon
        return found


@dataclass(frozen=True)
class Softmax(Exploration):
    """Each item in proportion to ``exp(worth / temperature)`` (Plackett and Luce).

    A list of it is distributed as the first items by ``worth / temperature`` plus Gumbel noise.

    Parameters
    ----------
    temperature
        In the unit of scores: an item is preferred ``e`` times to one whose score is less by it.

    >>> Softmax(0.1).probabilities(np.array([0.2, 0.3])).round(3).tolist()
    [0.269, 0.731]
    """

    temperature: float

    def __post_init__(self) -> None:
        if not 0 < self.temperature < np.inf:
            raise ConfigError(
                "Softmax.temperature",
                f"{self.temperature!r} is no difference of scores",
                "Give a number above 0, such as the usual difference of two good items.",
            )

    def probabilities(self, worth: Doubles) -> Doubles:
        """See `Exploration`."""
        weights = np.exp((worth - worth.max()) / self.temperature)
        shares: Doubles = weights / weights.sum()
        return shares


class Drawn(NamedTuple):
    """An item that was drawn of those that were left."""

    place: int
    propensity: float
    """The probability by which it was drawn."""
    greedy: int
    """The place of the best of them."""


def draw(exploration: Exploration, worth: Doubles, random: np.random.Generator) -> Drawn:
    """Draw one item of those with `worth` float64[m], ``m >= 1``."""
    probabilities = exploration.probabilities(worth)
    sums = probabilities.cumsum()
    place = int(sums.searchsorted(random.random() * sums[-1], side="right"))
    place = min(place, len(worth) - 1)  # the sum of numbers that are not finite has no order
    return Drawn(place, float(probabilities[place]), int(worth.argmax()))
