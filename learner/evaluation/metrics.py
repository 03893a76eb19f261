"""TODO-DOC."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints

# Logits beyond ±16 are probabilities within 1e-7 of 0 or 1, which float32 cannot tell apart.
LOGIT_BOUND = 16.0


# 2^14 buckets of width 0.002: two examples share one only when their odds differ by < 0.2 %.
_BUCKETS = 2**14


# What float32 probabilities can tell from 0 and 1; bounds one example's log loss at 16.
LEAST_PROBABILITY = 1e-7


class Quality(NamedTuple):
    """How good the scores of some examples were; NaN where it is not defined."""

    auc: float
    log_loss: float


def log_loss(labels: Floats, scores: Floats) -> float:
    """The sum of ``-log p(label)`` (not the mean).

    >>> round(log_loss(np.array([1, 0], np.float32), np.array([0.5, 0.5], np.float32)), 4)
    1.3863
    """
    likelihood = np.where(labels > 0.5, scores, 1.0 - scores.astype(np.float64))
    return float(-np.log(np.maximum(likelihood, LEAST_PROBABILITY)).sum())


@kernel
def _count(counts: Ints, labels: Floats, scores: Floats) -> float:
    """Add each example to its bucket of int64[2, buckets]; gives the summed log loss."""
    buckets = counts.shape[1]
    loss = 0.0
    for i in range(len(labels)):
        score = min(max(np.float64(scores[i]), LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
        logit = np.log(score / (1.0 - score))
        place = int((logit + LOGIT_BOUND) * (buckets / (2.0 * LOGIT_BOUND)))
        bucket = min(max(place, 0), buckets - 1)
        if labels[i] > 0.5:
            counts[1, bucket] += 1
            loss -= np.log(score)
        else:
            counts[0, bucket] += 1
            loss -= np.log(1.0 - score)
    return loss


def exact_auc(labels: Floats, scores: Floats) -> float:
    """The share of (positive, negative) pairs in the right order, ties by half; NaN without pairs.

    >>> exact_auc(np.array([0, 1, 1, 0], np.float32), np.array([.1, .8, .4, .4], np.float32))
    0.875
    """
    _, group = np.unique(scores, return_inverse=True)
    positive = labels > 0.5
    groups = int(group.max(initial=-1)) + 1
    return _auc(
        np.bincount(group[positive], minlength=groups),
        np.bincount(group[~positive], minlength=groups),
    )


def _auc(positives: Ints, negatives: Ints) -> float:
    """From counts of both labels per score, scores ascending."""
    pairs = float(positives.sum()) * float(negatives.sum())
    if pairs == 0.0:
        return float("nan")
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + 0.5 * negatives)).sum() / pairs)


class ScoreHistogram:
    """Labels and scores of any number of examples in 256 KiB, mergeable.

    Its AUC differs from the exact one by at most `auc_error`, because only pairs that share a
    bucket can be counted wrongly.
    """

    def __init__(self) -> None:
        self.counts: Ints = np.zeros((2, _BUCKETS), np.int64)
        self.loss = 0.0

    @property
    def count(self) -> int:
        """How many examples were added."""
        return int(self.counts.sum())

    def add(self, labels: Floats, scores: Floats) -> None:
        """Count examples, float32[n] each."""
        self.loss += _count(self.counts, labels, scores)

    def merge(self, other: ScoreHistogram) -> None:
        """Add the examples of `other`."""
        self.counts += other.counts
        self.loss += other.loss

    def quality(self) -> Quality:
        """Over all examples added."""
        count = self.count
        mean_loss = self.loss / count if count else float("nan")
        return Quality(_auc(self.counts[1], self.counts[0]), mean_loss)

    def auc_error(self) -> float:
        """The bound on the AUC's error: half of the share of pairs that share a bucket."""
        pairs = float(self.counts[0].sum()) * float(self.counts[1].sum())
        shared = float((self.counts[0].astype(np.float64) * self.counts[1]).sum())
        return 0.5 * shared / pairs if pairs else 0.0
