"""Progressive validation: every example is scored before it is learned from.

Two scores of the same examples stand side by side: that of the live weights, and that of a copy
frozen earlier, so that their difference is what learning online is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.compiled import kernel
from freshrank.actors.messages import Doubles, Floats, Ints
from freshrank.actors.protocols import JsonValue

# Logits beyond ±16 are probabilities within 1e-7 of 0 or 1, which float32 cannot tell apart.
LOGIT_BOUND = 16.0
# 2^14 buckets of width 0.002: two examples share one only when their odds differ by < 0.2 %.
_BUCKETS = 2**14
# What float32 probabilities can tell from 0 and 1; bounds one example's log loss at 16.
LEAST_PROBABILITY = 1e-7
# Enough for a steady figure with few positives, little enough to show drift within a minute.
_RECENT = 20_000


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


class _Recent:
    """The last `_RECENT` examples as they are: label, live score, reference score (or NaN)."""

    def __init__(self) -> None:
        self._ring: Floats = np.empty((3, _RECENT), np.float32)
        self._added = 0

    def add(self, labels: Floats, scores: Floats, reference: Floats | None) -> None:
        kept = slice(-_RECENT, None)
        count = len(labels[kept])
        places = (self._added + np.arange(count)) % _RECENT
        self._ring[0, places] = labels[kept]
        self._ring[1, places] = scores[kept]
        self._ring[2, places] = np.nan if reference is None else reference[kept]
        self._added += count

    def quality(self) -> tuple[Quality, Quality]:
        """Of the live weights, and of the reference where it scored."""
        labels, scores, reference = self._ring[:, : min(self._added, _RECENT)]
        judged = ~np.isnan(reference)
        return _quality(labels, scores), _quality(labels[judged], reference[judged])


def _quality(labels: Floats, scores: Floats) -> Quality:
    mean_loss = log_loss(labels, scores) / len(labels) if len(labels) else float("nan")
    return Quality(exact_auc(labels, scores), mean_loss)


class ProgressiveValidation:
    """The figures of one learner: over its life, since the reference was frozen, and lately."""

    def __init__(self) -> None:
        self.lifetime = ScoreHistogram()
        self.live = ScoreHistogram()
        """The live weights, over the examples that the reference scored too."""
        self.reference = ScoreHistogram()
        self._recent = _Recent()

    def add(self, labels: Floats, scores: Floats, reference: Floats | None) -> None:
        """Count examples that were scored and not yet learned, float32[n] each."""
        self.lifetime.add(labels, scores)
        if reference is not None:
            self.live.add(labels, scores)
            self.reference.add(labels, reference)
        self._recent.add(labels, scores, reference)

    def compare_anew(self) -> None:
        """Another copy was frozen: forget how the last one compared."""
        self.live, self.reference = ScoreHistogram(), ScoreHistogram()
        self._recent = _Recent()

    def status(self) -> dict[str, JsonValue]:
        """AUC and log loss (None where undefined) and how many examples they rest on."""
        live, frozen = self._recent.quality()
        return {
            "judged": self.lifetime.count,
            "auc": _plain(self.lifetime.quality().auc),
            "log_loss": _plain(self.lifetime.quality().log_loss),
            "compared": self.live.count,
            "auc_live": _plain(self.live.quality().auc),
            "auc_frozen": _plain(self.reference.quality().auc),
            "log_loss_live": _plain(self.live.quality().log_loss),
            "log_loss_frozen": _plain(self.reference.quality().log_loss),
            "auc_recent": _plain(live.auc),
            "auc_recent_frozen": _plain(frozen.auc),
            "log_loss_recent": _plain(live.log_loss),
            "log_loss_recent_frozen": _plain(frozen.log_loss),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of what a checkpoint keeps: all but the recent examples."""
        three = (self.lifetime, self.live, self.reference)
        losses: Doubles = np.array([one.loss for one in three])
        return {
            "validation_counts": np.stack([one.counts for one in three]),
            "validation_losses": losses,
        }

    @classmethod
    def restore(cls, arrays: Mapping[str, NDArray[Any]]) -> ProgressiveValidation:
        """Go on from what `arrays` gave."""
        validation = cls()
        three = (validation.lifetime, validation.live, validation.reference)
        for number, one in enumerate(three):
            one.counts = arrays["validation_counts"][number].copy()
            one.loss = float(arrays["validation_losses"][number])
        return validation


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
