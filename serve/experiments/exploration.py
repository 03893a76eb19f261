"""How a list of items explores: by what probability each item comes next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles
from freshrank.actors.parameters.uncertainty import WeightSampling

# Fewer say little of a propensity; more take longer than the answer itself.
_LEAST_SAMPLES, _MOST_SAMPLES = 16, 4096


class Exploration(ABC):
    """A way to show now and then what the model does not rank first, by known probabilities.

    A list is drawn item by item, each of those that are left. What is drawn and what is logged come
    from the same numbers, so propensities are exact for whatever `probabilities` gives.
    """

    @property
    def sampling(self) -> WeightSampling | None:
        """How the model's weights are drawn for each request; None: they are not needed."""
        return None

    @abstractmethod
    def probabilities(self, worth: Doubles) -> Doubles:
        """float64[m]: by which probability each of ``m >= 1`` items comes next; their sum is 1.

        `worth` float64[m] is what they are ranked by, the greatest first. With a `sampling` it is
        float64[1 + s, m]: by the weights that serve, then by each of those that were drawn.
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


@dataclass(frozen=True)
class Thompson(Exploration):
    """Each item as probably as it is the best of those left, by what the model does not know yet.

    Weights are drawn by their uncertainty (Chapelle and Li, "An empirical evaluation of Thompson
    sampling", NIPS 2011): an item of few examples is now the best and now not, one of many is where
    it belongs. The weights that serve are one of the draws, so that the best item by them, which
    off-policy estimates are about, always has a propensity.

    Parameters
    ----------
    scale
        What the standard deviations of weights are multiplied by: less of it explores less.
    prior
        The precision, one over the variance, of a weight before its first example: at 1 a new id's
        is 1, in log-odds.
    samples
        How many times weights are drawn for a list. A propensity ``p`` is exact given these; as an
        estimate of its probability over all weights it has the standard error
        ``sqrt(p (1 - p) / samples)``, at most 0.044 of 128.

    >>> by_weights = np.array([[0.3, 0.1], [0.3, 0.4], [0.2, 0.1], [0.4, 0.2]])
    >>> Thompson().probabilities(by_weights).tolist()
    [0.75, 0.25]
    """

    scale: float = 1.0
    prior: float = 1.0
    samples: int = 128

    def __post_init__(self) -> None:
        for name in ("scale", "prior"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                reason = f"{value!r} is out of range"
                raise ConfigError(f"Thompson.{name}", reason, "Give a number above 0; 1 is usual.")
        if not isinstance(self.samples, int) or not _LEAST_SAMPLES <= self.samples <= _MOST_SAMPLES:
            raise ConfigError(
                "Thompson.samples",
                f"{self.samples!r} tells no propensities, or takes too long",
                f"Give an integer from {_LEAST_SAMPLES} to {_MOST_SAMPLES:,}; 128 is usual.",
            )

    @property
    def sampling(self) -> WeightSampling:
        """See `Exploration`."""
        return WeightSampling(self.samples, self.prior, self.scale)

    def probabilities(self, worth: Doubles) -> Doubles:
        """See `Exploration`."""
        return np.bincount(worth.argmax(axis=1), minlength=worth.shape[1]) / len(worth)


class Drawn(NamedTuple):
    """An item that was drawn of those that were left."""

    place: int
    propensity: float
    """The probability by which it was drawn."""
    greedy: int
    """The place of the best of them."""


def draw(exploration: Exploration, worth: Doubles, random: np.random.Generator) -> Drawn:
    """Draw one item of those with `worth`, float64[m] or [1 + s, m], ``m >= 1``."""
    probabilities = exploration.probabilities(worth)
    sums = probabilities.cumsum()
    place = int(sums.searchsorted(random.random() * sums[-1], side="right"))
    place = min(place, len(sums) - 1)  # the sum of numbers that are not finite has no order
    return Drawn(place, float(probabilities[place]), int(by_present_weights(worth).argmax()))


def by_present_weights(worth: Doubles) -> Doubles:
    """float64[m]: of worth by several weights, float64[1 + s, m], that by those that serve."""
    return worth if worth.ndim == 1 else worth[0]
