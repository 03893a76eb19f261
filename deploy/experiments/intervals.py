"""Intervals and tests of rates: at a time that was fixed before, and at any time.

Z is the normal quantile of 95 % throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, log, sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)

# Of the prior of shares, in users: a deviation is found soonest that so many would show.
_PRIOR_USERS = 100.0


class Estimate(NamedTuple):
    """A number, and the interval that holds the true one with a confidence of 95 %."""

    value: float
    low: float
    high: float


class Ratio(NamedTuple):
    """The sum of one column over that of another, and its variance between clusters."""

    value: float
    variance: float
    clusters: int
    """Those with anything in the denominator."""

    def interval(self) -> Estimate:
        """By the normal distribution, at a time that was fixed before."""
        half = Z * sqrt(self.variance)
        return Estimate(self.value, self.value - half, self.value + half)


def ratio(numerators: Doubles, denominators: Doubles) -> Ratio | None:
    """The ratio of sums over clusters float64[b] (delta method); None: nothing to divide by.

    Clusters are independent of each other, whatever is in each: users, or groups of users.

    >>> found = ratio(np.array([1.0, 3.0]), np.array([10.0, 10.0]))
    >>> round(found.value, 3), round(found.variance ** 0.5, 3), found.clusters
    (0.2, 0.1, 2)
    """
    total, clusters = float(denominators.sum()), int(np.count_nonzero(denominators))
    if total <= 0:
        return None
    value = float(numerators.sum()) / total
    around = numerators - value * denominators
    correction = clusters / max(clusters - 1, 1)
    return Ratio(value, correction * float((around**2).sum()) / total**2, clusters)


def wilson(rate: float, trials: float) -> Estimate:
    """The score interval of Wilson (1927) for a share of `trials`, which need be no integer.

    >>> [round(one, 4) for one in wilson(0.1, 100)]
    [0.1, 0.0552, 0.1744]
    """
    spread = Z * sqrt(rate * (1 - rate) / trials + Z * Z / (4 * trials * trials))
    middle, scale = rate + Z * Z / (2 * trials), 1 + Z * Z / trials
    return Estimate(rate, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def at_any_time(difference: float, variance: float, scale: float, error: float) -> Estimate:
    """An interval that holds the true difference at all times at once, but for a share `error`.

    That of the mixture sequential probability ratio test: its likelihood ratio is averaged over
    differences by a normal distribution of the standard deviation `scale`, where it is narrowest
    (Robbins, "Statistical methods related to the law of the iterated logarithm", 1970; Johari,
    Koomen, Pekelis, Walsh, "Peeking at A/B tests", KDD 2017). `variance` is that of `difference`.

    >>> [round(one, 4) for one in at_any_time(0.01, 1e-6, 0.01, 0.05)]
    [0.01, 0.0067, 0.0133]
    """
    mixed = variance + scale * scale
    half = sqrt(2 * variance * mixed / scale**2 * (log(1 / error) + log(mixed / variance) / 2))
    return Estimate(difference, difference - half, difference + half)


def value_at_any_time(difference: float, variance: float, scale: float) -> float:
    """The p-value of no difference by the same test: right whenever it is looked at.

    >>> value_at_any_time(0.0, 1e-6, 0.01), round(value_at_any_time(0.005, 1e-6, 0.01), 6)
    (1.0, 4.2e-05)
    """
    mixed = variance + scale * scale
    evidence = (scale * difference) ** 2 / (2 * variance * mixed) - log(mixed / variance) / 2
    return exp(-max(0.0, evidence))


def shares_at_any_time(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of `counts` of users in arms of these shares: right whenever it is looked at.

    The ratio of likelihoods of the counts, by shares that are drawn around those declared (of
    Dirichlet) and by those declared, is a martingale if these hold (Lindon, Malek, "Anytime-valid
    inference for multinomial count data", NeurIPS 2022).

    >>> shares_at_any_time([5_000, 5_040], [0.5, 0.5])
    1.0
    >>> shares_at_any_time([5_000, 5_600], [0.5, 0.5]) < 1e-5
    True
    """
    total = sum(shares)
    declared = [share / total for share in shares]
    prior = [_PRIOR_USERS * share for share in declared]
    evidence = lgamma(_PRIOR_USERS) - lgamma(_PRIOR_USERS + sum(counts))
    for count, share, users in zip(counts, declared, prior, strict=True):
        evidence += lgamma(users + count) - lgamma(users) - count * log(share)
    return exp(-max(0.0, evidence))
