"""Precision and calibration of probabilities, from counts of both labels by score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Ints

_BINS = 10


class CalibrationBin(NamedTuple):
    """A tenth of the examples, by their predicted probability."""

    examples: int
    predicted: float
    """The mean of their predictions."""
    observed: float
    """The share of positives among them."""


def average_precision(positives: Ints | Doubles, negatives: Ints | Doubles) -> float:
    """The mean, over the positives, of the precision at the score of each; NaN without positives.

    `positives` and `negatives` are the counts [s] of both labels by score, scores ascending. They
    may be fractions, where some of the negatives stand for more.
    Examples of one score are found together, as in scikit-learn's `average_precision_score`.

    >>> average_precision(np.array([0, 1, 0, 1]), np.array([1, 1, 1, 0]))
    0.75
    """
    found = np.cumsum(positives[::-1])
    shown = found + np.cumsum(negatives[::-1])
    if not len(found) or found[-1] == 0:
        return float("nan")
    gained = positives[::-1] > 0
    precision = found[gained] / shown[gained]
    return float((positives[::-1][gained] * precision).sum() / found[-1])


def precision_at(found: int, positives: Ints | Doubles, negatives: Ints | Doubles) -> float:
    """The share of positives among the `found` examples of the highest scores; NaN with fewer.

    Of examples that share the lowest of these scores it takes as many as are needed, at their rate.
    The counts are those of `average_precision`.

    >>> counts = np.array([5, 2, 1]), np.array([9, 2, 0])
    >>> precision_at(1, *counts), precision_at(3, *counts), precision_at(99, *counts)
    (1.0, 0.6666666666666666, nan)
    """
    examples = (positives + negatives)[::-1]
    before = np.cumsum(examples) - examples
    if examples.sum() < found:
        return float("nan")
    taken = np.clip(found - before, 0, examples)
    shares = np.divide(taken, examples, out=np.zeros(len(examples)), where=examples > 0)
    return float(shares @ positives[::-1] / found)


def calibration_bins(
    positives: Ints | Doubles, negatives: Ints | Doubles, predictions: Doubles
) -> tuple[CalibrationBin, ...]:
    """Tenths of the examples by prediction, lowest first; those of one score stay together.

    `predictions` float64[s] are the scores of the counts, ascending. Bins without examples are
    left out.

    >>> counts = np.array([9, 1]), np.array([91, 9])
    >>> for one in calibration_bins(counts[1], counts[0], np.array([0.8, 0.9])):
    ...     print(one)
    CalibrationBin(examples=100, predicted=0.8, observed=0.91)
    CalibrationBin(examples=10, predicted=0.9, observed=0.9)
    """
    examples = positives + negatives
    total = float(examples.sum())
    middle = np.cumsum(examples) - examples / 2
    places = np.minimum((middle * _BINS / max(total, 1.0)).astype(np.int64), _BINS - 1)
    sizes = np.bincount(places, examples, _BINS)
    predicted = np.bincount(places, examples * predictions, _BINS)
    observed = np.bincount(places, positives, _BINS)
    return tuple(
        CalibrationBin(round(float(size)), float(sum_ / size), float(happened / size))
        for size, sum_, happened in zip(sizes, predicted, observed, strict=True)
        if size
    )


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """The mean distance of prediction and share in a bin, weighted by examples; NaN without any.

    The expected calibration error (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated
    probabilities using Bayesian binning", AAAI 2015), with bins of equal numbers of examples.

    >>> calibration_error((CalibrationBin(30, 0.1, 0.2), CalibrationBin(10, 0.5, 0.5))).__round__(4)
    0.075
    """
    total = sum(one.examples for one in bins)
    if total == 0:
        return float("nan")
    return sum(one.examples * abs(one.predicted - one.observed) for one in bins) / total
