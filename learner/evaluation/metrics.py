"""Quality of predictions: AUC, exact or from a histogram, loss, error, and calibration."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.learner.evaluation.calibration import (
    CalibrationBin,
    average_precision,
    calibration_bins,
    precision_at,
)
from freshrank.learner.models.losses import LogitLink, Loss

# Outputs beyond ±16 share the outermost buckets. Of a logit those are probabilities within 1e-7 of
# 0 or 1, which float32 cannot tell apart.
_OUTPUT_BOUND = 16.0
# 2^14 buckets of width 0.002: two examples share one only when their odds differ by < 0.2 %.
_BUCKETS = 2**14


class Quality(NamedTuple):
    """How good the predictions of some examples were; NaN where it is not defined."""

    auc: float = math.nan
    """Of labels that are 0 or 1; of classes the mean of that of each against the others."""
    loss: float = math.nan
    """Mean over the examples."""
    mean_absolute_error: float = math.nan
    """Of labels that are numbers, in their unit; so is the next."""
    coverage: float = math.nan
    """The share of labels that are at most their prediction: ``q`` of a good quantile ``q``."""
    accuracy: float = math.nan
    """Of classes: the share of examples whose likeliest class is their own."""
    mean_reciprocal_rank: float = math.nan
    """Of slates: the mean of 1 / rank of the chosen item."""


def errors_of(labels: Floats, predictions: Floats, counts: Floats) -> Doubles:
    """float64[3]: number of examples, sum of absolute errors, labels that are at most predicted.

    Each example counts `counts` times.

    >>> once = np.ones(2, np.float32)
    >>> errors_of(np.array([1, 2], np.float32), np.array([1.5, 0.5], np.float32), once).tolist()
    [2.0, 2.0, 1.0]
    """
    errors = predictions.astype(np.float64) - labels
    covered = counts[errors >= 0.0].sum(dtype=np.float64)
    return np.array([counts.sum(dtype=np.float64), (np.abs(errors) * counts).sum(), covered])


@kernel
def count_scores(counts: Doubles, labels: Floats, outputs: Doubles, times: Floats) -> None:
    """Add each example to its bucket of float64[2, buckets], by label and output, so many times."""
    buckets = counts.shape[1]
    for i in range(len(labels)):
        place = int((outputs[i] + _OUTPUT_BOUND) * (buckets / (2.0 * _OUTPUT_BOUND)))
        bucket = min(max(place, 0), buckets - 1)
        counts[1 if labels[i] > 0.5 else 0, bucket] += times[i]


def probabilities(buckets: int) -> Doubles:
    """float64[buckets]: those in the middle of each bucket of log-odds, as of `count_scores`.

    >>> probabilities(4).round(4).tolist()
    [0.0, 0.018, 0.982, 1.0]
    """
    width = 2.0 * _OUTPUT_BOUND / buckets
    outputs = np.arange(buckets) * width + (width / 2.0 - _OUTPUT_BOUND)
    return LogitLink().prediction(outputs.astype(np.float32)).astype(np.float64)


def exact_auc(labels: Floats, scores: Floats, counts: Floats | None = None) -> float:
    """The share of (positive, negative) pairs in the right order, ties by half; NaN without pairs.

    Each example counts `counts` times, once by default.

    >>> exact_auc(np.array([0, 1, 1, 0], np.float32), np.array([.1, .8, .4, .4], np.float32))
    0.875
    """
    _, group = np.unique(scores, return_inverse=True)
    positive = labels > 0.5
    groups = int(group.max(initial=-1)) + 1
    times = np.ones(len(labels)) if counts is None else counts.astype(np.float64)
    return auc_of_counts(
        np.bincount(group[positive], times[positive], groups),
        np.bincount(group[~positive], times[~positive], groups),
    )


def auc_of_counts(positives: Ints | Doubles, negatives: Ints | Doubles) -> float:
    """`exact_auc` from counts of both labels per score, scores ascending.

    >>> auc_of_counts(np.array([0, 1, 1]), np.array([1, 1, 0]))
    0.875
    """
    pairs = float(positives.sum()) * float(negatives.sum())
    if pairs == 0.0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / pairs)


class ScoreHistogram:
    """Labels and predictions of any number of examples in 256 KiB.

    Its AUC differs from the exact one by at most `auc_error`, because only pairs that share a
    bucket can be counted wrongly. It is not defined, NaN, where `loss` is of numbers; there the
    error and the coverage are.
    """

    def __init__(self, loss: Loss) -> None:
        self.counts: Doubles = np.zeros((2, _BUCKETS))
        self.loss_sum = 0.0
        self.errors: Doubles = np.zeros(3)
        """See `errors_of`. Those of validations of before have counted no examples yet."""
        self._loss, self._link = loss, loss.link

    @property
    def count(self) -> int:
        """How many examples were added, by their weights."""
        return round(float(self.counts.sum()))

    def add(self, labels: Floats, predictions: Floats, counts: Floats | None = None) -> None:
        """Count examples, float32[n] each, once or `counts` times: below 0 it takes them back."""
        counts = np.ones_like(labels) if counts is None else counts
        self.loss_sum += float((self._loss.of_traffic(labels, predictions) * counts).sum())
        if not self._loss.binary:
            self.errors += errors_of(labels, predictions, counts)
            labels = np.zeros_like(labels)
        count_scores(self.counts, labels, self._link.output(predictions), counts)

    @property
    def _of_traffic(self) -> tuple[Ints | Doubles, Ints | Doubles]:
        """By bucket: positives and negatives, as many as there are of those that one stands for.

        A bucket is never below 0, though a correction may take back what was counted before a
        checkpoint without these counts.
        """
        positives, negatives = np.maximum(self.counts, 0)[::-1]
        kept = self._loss.negatives_kept
        return positives, negatives if kept == 1.0 else negatives / kept

    def quality(self) -> Quality:
        """Over all examples added."""
        count = float(sum(counts.sum() for counts in self._of_traffic))
        mean_loss = self.loss_sum / count if count else float("nan")
        known, error, covered = self.errors.tolist()
        of_numbers = (error / known, covered / known) if known else ()
        return Quality(auc_of_counts(self.counts[1], self.counts[0]), mean_loss, *of_numbers)

    @property
    def base_rate(self) -> float:
        """The share of positives; NaN without examples, and where there are no such labels."""
        positives, negatives = (float(counts.sum()) for counts in self._of_traffic)
        known = self.count > 0 and self._loss.binary
        return positives / (positives + negatives) if known else float("nan")

    def average_precision(self) -> float:
        """That of the examples' order by prediction; NaN where the AUC is not defined."""
        return average_precision(*self._of_traffic)

    def precision_at(self, found: int) -> float:
        """That of the `found` examples predicted highest; NaN where the AUC is not defined."""
        known = self._loss.binary
        return precision_at(found, *self._of_traffic) if known else math.nan

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """The predicted probabilities and what came of them; none where they are not probabilities.

        A prediction counts as that of the middle of its bucket, at most 0.1 % of its odds away.
        """
        if not isinstance(self._link, LogitLink):
            return ()
        return calibration_bins(*self._of_traffic, probabilities(_BUCKETS))

    def auc_error(self) -> float:
        """The bound on the AUC's error: half of the share of pairs that share a bucket."""
        pairs = float(self.counts[0].sum()) * float(self.counts[1].sum())
        shared = float((self.counts[0].astype(np.float64) * self.counts[1]).sum())
        return 0.5 * shared / pairs if pairs else 0.0
