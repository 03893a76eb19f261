"""The log loss, of probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses.links import LEAST_PROBABILITY, Link, LogitLink
from freshrank.learner.models.losses.loss import Loss


@kernel
def _log_losses(labels: Floats, probabilities: Floats) -> Doubles:
    out = np.empty(len(labels))
    for i in range(len(labels)):
        p = np.float64(probabilities[i])
        out[i] = -np.log(max(p if labels[i] > 0.5 else 1.0 - p, LEAST_PROBABILITY))
    return out


@dataclass(frozen=True)
class LogLoss(Loss):
    """``-log p(label)`` in nats, of the probability that a logistic output gives.

    >>> LogLoss().value(np.array([1, 0], np.float32), np.array([0.5, 0.5], np.float32)).round(4)
    array([0.6931, 0.6931])
    """

    @property
    def link(self) -> Link:
        """Log-odds to probability."""
        return LogitLink()

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`. At most 16 nats."""
        return _log_losses(labels, predictions)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """``p - label``."""
        return predictions - labels

    def of_constant(self, mean: float, mean_square: float) -> float:
        """The entropy of the label in nats (He et al., "Practical lessons ...", ADKDD 2014).

        >>> round(LogLoss().of_constant(0.5, 0.5), 4)
        0.6931
        """
        rate = min(max(mean, LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
        return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)

    def least_evidence(self, of_constant: float) -> float:
        """60 nats: a model that is nearly always certain may make three or four sure mistakes."""
        return 60.0
