"""The distribution of the numbers that came, in a few knots: running quantiles.

A distribution is a list of knots (a value, and the share of the numbers that lie below it or up
to it) with straight lines between; where two knots have one value, so many numbers are equal. Two
lists are merged into one of both together: at each of their values the shares of both are known,
and of all these knots those nearest to fixed shares are kept, denser towards the ends. So knots
that are kept have the shares that they have; only what lies between them is rounded, and a value
that comes again and again keeps its own share. The size is fixed, the unit and the origin of the
numbers do not matter (as they do to buckets of fixed ranges), and the result is a function of what
was merged and in which order. Raatikainen ("Simultaneous estimation of several percentiles",
Simulation 1987) keeps the shares instead and rounds the values.

Of 20,000 numbers in steps of 1 to 1,024 each quantile lies within 0.01 of its share, be they
normal, of heavy tails, counts, sorted or with a trend
(`tests/contracts/test_running_quantiles.py`).
"""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel, subkernel
from freshrank.actors.messages import Doubles

KNOTS = 65
SHARES: Doubles = (1.0 - np.cos(np.pi * np.arange(KNOTS) / (KNOTS - 1))) / 2.0
"""float64[k]: the shares near which knots are kept; those of least and greatest always are."""
VALUES, RANKS = slice(0, KNOTS), slice(KNOTS, 2 * KNOTS)
"""The rows of knots, float64[2k, d]: the values, ascending, and the shares; all 0 of no number."""
# Beyond this share of all numbers one value is taken for the most frequent.
_OFTEN = 1.0 / KNOTS


def no_knots(inputs: int) -> Doubles:
    """float64[2k, d]: the distributions of no number."""
    return np.zeros((2 * KNOTS, inputs))


@subkernel
def _keep(
    shares: Doubles, kept: int, value: float, rank: float, last: tuple[float, float], out: Doubles
) -> int:
    """Keep this knot, or the `last` one, for each share up to its rank; how many are kept then."""
    size = len(shares)
    while kept < size and shares[kept] <= rank:
        if kept > 0 and shares[kept] - last[1] <= rank - shares[kept]:
            out[kept], out[size + kept] = last
        else:
            out[kept], out[size + kept] = value, rank
        kept += 1
    return kept


@lean_kernel
def _of_sorted(numbers: Doubles, shares: Doubles, out: Doubles) -> None:
    count, kept, at = len(numbers), 0, 0
    last = (numbers[0], 0.0)
    while at < count:
        value, rank = numbers[at], at / count
        kept = _keep(shares, kept, value, rank, last, out)
        last = (value, rank)
        while at < count and numbers[at] == value:
            at += 1
        rank = at / count
        kept = _keep(shares, kept, value, rank, last, out)
        last = (value, rank)


@subkernel
def _rank(knots: Doubles, at: int, value: float) -> float:
    """The share of the numbers below `value`; `at` is the first knot that is not below it."""
    size = len(knots) // 2
    if at == size:
        return 1.0
    if knots[at] == value:
        return float(knots[size + at])
    if at == 0:
        return 0.0
    part = float((value - knots[at - 1]) / (knots[at] - knots[at - 1]))
    before = float(knots[size + at - 1])
    return before + float(knots[size + at] - before) * part


@subkernel
def _after(knots: Doubles, at: int, value: float) -> int:
    """The first knot from `at` on that is above `value`."""
    size = len(knots) // 2
    while at < size and knots[at] == value:
        at += 1
    return at


@lean_kernel
def _merge(one: Doubles, other: Doubles, part: float, shares: Doubles, out: Doubles) -> None:
    """Knots [2k] of two distributions, of which `other` counts for a `part` of both."""
    size, kept, i, j = len(shares), 0, 0, 0
    last = (min(one[0], other[0]), 0.0)
    while i < size or j < size:
        value = one[i] if j == size or (i < size and one[i] <= other[j]) else other[j]
        rank = (1.0 - part) * _rank(one, i, value) + part * _rank(other, j, value)
        kept = _keep(shares, kept, value, rank, last, out)
        last = (value, rank)
        below_i, below_j = _rank(one, i, value), _rank(other, j, value)
        i, j = _after(one, i, value), _after(other, j, value)
        up_to_i = one[size + i - 1] if i > 0 and one[i - 1] == value else below_i
        up_to_j = other[size + j - 1] if j > 0 and other[j - 1] == value else below_j
        rank = (1.0 - part) * up_to_i + part * up_to_j
        if i == size and j == size:
            rank = 1.0  # whatever is rounded
        kept = _keep(shares, kept, value, rank, last, out)
        last = (value, rank)


def knots_of(numbers: Doubles) -> Doubles:
    """float64[2k]: the distribution of at least one number, float64[n] without NaN.

    >>> knots = knots_of(np.array([3.0, 1.0, 1.0, 2.0]))
    >>> quantile(knots, 0.25), quantile(knots, 0.75), most_frequent(knots)
    (1.0, 2.0, 1.0)
    """
    found = np.empty(2 * KNOTS)
    _of_sorted(np.sort(numbers), SHARES, found)
    return found


def merge_knots(before: Doubles, more: Doubles, shares: Doubles) -> Doubles:
    """float64[2k, d]: the distributions of both together, input by input.

    `more` counts for ``shares`` float64[d] of both; where it is 1 there was nothing before. An
    input without knots has none after.
    """
    found = before.copy()
    for column in np.flatnonzero(more[-1] > 0.0).tolist():
        if before[-1, column] == 0.0:
            found[:, column] = more[:, column]
            continue
        merged = np.empty(len(before))
        one, other = (np.ascontiguousarray(each[:, column]) for each in (before, more))
        _merge(one, other, float(shares[column]), SHARES, merged)
        found[:, column] = merged
    return found


def quantile(knots: Doubles, share: float) -> float:
    """The value below which a `share` of the numbers lies; 0 of no number. `knots` float64[2k]."""
    values, ranks = knots[VALUES], knots[RANKS]
    at = int(np.searchsorted(ranks, share))
    if at in (0, KNOTS) or ranks[at] == ranks[at - 1]:
        return float(values[min(at, KNOTS - 1)])
    part = (share - ranks[at - 1]) / (ranks[at] - ranks[at - 1])
    return float(values[at - 1] + (values[at] - values[at - 1]) * part)


def most_frequent(knots: Doubles) -> float:
    """The value that came most often; where none comes often, the middle of where most lie."""
    values, gained = knots[VALUES], np.diff(knots[RANKS])
    wide = np.diff(values)
    equal = np.where(wide == 0.0, gained, 0.0)
    if equal.max() >= _OFTEN:
        return float(values[equal.argmax()])
    dense = np.divide(gained, wide, out=np.zeros_like(wide), where=wide > 0.0)
    at = int(dense.argmax())
    return float(values[at] + wide[at] / 2.0)
