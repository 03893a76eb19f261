"""The Huber loss: squared near the label, and absolute far from it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses.links import IdentityLink
from freshrank.learner.models.losses.loss import Loss
from freshrank.learner.optimizers.base import check_at_least

# The unit of outputs is so many of `delta` at most.
_MOST_DELTAS = 4.0


@dataclass(frozen=True)
class HuberLoss(Loss):
    """``e² / 2`` of an error ``e`` of at most `delta`, and ``delta (|e| - delta / 2)`` beyond.

    Few labels that are far off move the prediction no more than labels that are `delta` off: it
    lies between the mean (a large `delta`) and the median (a small one). Huber, "Robust Estimation
    of a Location Parameter", Annals of Mathematical Statistics 1964.

    >>> HuberLoss(1.0).value(np.zeros(3, np.float32), np.array([0.5, 1.0, -3.0], np.float32))
    array([0.125, 0.5  , 2.5  ])

    Parameters
    ----------
    delta
        In the unit of the label, more than 0: the error beyond which a label counts as far off.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("HuberLoss.delta", self.delta, 0.0, strictly=True)

    @property
    def link(self) -> IdentityLink:
        """The prediction is the output."""
        return IdentityLink()

    @property
    def binary(self) -> bool:
        """False: labels are any numbers."""
        return False

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`."""
        errors = np.abs(predictions.astype(np.float64) - labels)
        near = np.minimum(errors, self.delta)
        found: Doubles = near * (errors - 0.5 * near)
        return found

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """The error, cut at ``±delta``."""
        delta = np.float32(self.delta)
        found: Floats = np.minimum(np.maximum(predictions - labels, -delta), delta)
        return found

    def of_constant(self, mean: float, mean_square: float) -> float:
        """That of the mean for labels that are all one standard deviation off.

        No labels with such moments have a greater one: the loss is concave in the squared error.

        >>> HuberLoss(1.0).of_constant(mean=2.0, mean_square=4.25), HuberLoss(1.0).of_constant(0, 9)
        (0.125, 2.5)
        """
        deviation = math.sqrt(max(0.0, mean_square - mean * mean))
        near = min(deviation, self.delta)
        return near * (deviation - 0.5 * near)

    def spread(self, variance: float) -> float:
        """The deviation, and `_MOST_DELTAS` of `delta` at most: wild labels do not widen it more.

        >>> HuberLoss(1.0).spread(0.25), HuberLoss(1.0).spread(5_000.0)
        (0.5, 4.0)
        """
        return min(super().spread(variance), _MOST_DELTAS * self.delta)

    def least_evidence(self, of_constant: float) -> float:
        """16 times it: four labels two deviations off cost at most so much."""
        return 16.0 * of_constant
