"""Quality of the probabilities of classes: a confusion matrix, and the AUC of each class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.evaluation.calibration import CalibrationBin, calibration_bins
from freshrank.learner.evaluation.metrics import (
    Quality,
    auc_of_counts,
    count_scores,
    probabilities,
)
from freshrank.learner.models.losses import LogitLink, Loss

# A class takes 32 KiB; two probabilities of it share a bucket if their odds differ by < 1.6 %.
_BUCKETS = 2**11


class ClassReport(NamedTuple):
    """Of one class against all others; NaN where it is not defined."""

    name: str
    support: int
    """Examples of the class, by their weights; so all others."""
    predicted: int
    """Examples of which it was the likeliest class."""
    precision: float
    """Of those that were predicted, the share that is of the class."""
    recall: float
    """Of those of the class, the share that was predicted."""
    f1: float
    """The harmonic mean of both; 0 where none of the class was predicted."""
    auc: float
    """Of its probability, against the examples of all other classes."""


class ClassTally:
    """Labels and probabilities of any number of examples of ``c`` classes, in 32 KiB a class.

    >>> from freshrank.learner.models.softmax_regression import SoftmaxLoss
    >>> tally = ClassTally(SoftmaxLoss(("cat", "dog")))
    >>> likely = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], np.float32)
    >>> tally.add(np.array([0, 1, 1], np.float32), likely)
    >>> tally.quality().accuracy, [round(one.recall, 2) for one in tally.report()]
    (0.6666666666666666, [1.0, 0.5])
    """

    def __init__(self, loss: Loss) -> None:
        classes = len(loss.classes)
        self.counts: Doubles = np.zeros((classes + 1, 2, _BUCKETS))
        """By class: examples of other classes and of its own, by its log-odds. The last are of the
        likeliest class: misses and hits."""
        self.loss_sum = 0.0
        self.errors: Doubles = np.zeros((classes, classes))
        """Examples by their class and the likeliest one: the confusion matrix."""
        self._loss = loss

    @property
    def count(self) -> int:
        """How many examples were added, by their weights."""
        return round(float(self.errors.sum()))

    def add(self, labels: Floats, predictions: Floats, counts: Floats | None = None) -> None:
        """Count examples by their labels float32[n] and predictions [n, c], once or `counts`."""
        times = np.ones_like(labels) if counts is None else counts
        places, likeliest = labels.astype(np.int64), predictions.argmax(axis=1)
        self.loss_sum += float((self._loss.of_traffic(labels, predictions) * times).sum())
        np.add.at(self.errors, (places, likeliest), times)
        columns = [*predictions.T, predictions.max(axis=1)]
        own = [places == place for place in range(predictions.shape[1])] + [places == likeliest]
        for counts_of, column, hits in zip(self.counts, columns, own, strict=True):
            outputs = LogitLink().output(np.ascontiguousarray(column))
            count_scores(counts_of, hits.astype(np.float32), outputs, times)

    def quality(self) -> Quality:
        """Over all examples added; the AUC is the mean over the classes that have one."""
        count = float(self.errors.sum())
        if count <= 0.0:
            return Quality()
        known = [auc for auc in self._aucs() if not np.isnan(auc)]
        return Quality(
            auc=float(np.mean(known)) if known else float("nan"),
            loss=self.loss_sum / count,
            accuracy=float(np.trace(self.errors)) / count,
        )

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """The probabilities of the likeliest classes, and how often they were right.

        As in Guo et al., "On calibration of modern neural networks", ICML 2017.
        """
        misses, hits = self.counts[-1]
        return calibration_bins(hits, misses, probabilities(_BUCKETS))

    def report(self) -> list[ClassReport]:
        """Of each class, in the order of the model's outputs."""
        found = []
        columns = self.errors.sum(axis=1), self.errors.sum(axis=0), np.diag(self.errors)
        for name, support, predicted, hits, auc in zip(
            self._loss.classes, *(column.tolist() for column in columns), self._aucs(), strict=True
        ):
            precision, recall = _share(hits, predicted), _share(hits, support)
            f1 = _share(2.0 * hits, support + predicted)
            found.append(
                ClassReport(name, round(support), round(predicted), precision, recall, f1, auc)
            )
        return found

    def _aucs(self) -> list[float]:
        return [auc_of_counts(positives, negatives) for negatives, positives in self.counts[:-1]]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
