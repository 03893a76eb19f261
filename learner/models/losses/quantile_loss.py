"""The quantile loss: the prediction is exceeded by a given share of the labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses.links import IdentityLink
from freshrank.learner.models.losses.loss import Loss
from freshrank.learner.optimizers.base import check_at_least


@dataclass(frozen=True)
class QuantileLoss(Loss):
    """``q (label - f)`` of an output ``f`` below the label, ``(1 - q) (f - label)`` above it.

    Also known as the pinball loss. It is least where a share ``q`` of the labels is at most ``f``:
    0.5 gives the median, 0.9 a delivery time that nine of ten orders keep. Koenker and Bassett,
    "Regression Quantiles", Econometrica 1978.

    >>> QuantileLoss(0.9).value(np.array([3, 3], np.float32), np.array([2, 4], np.float32)).round(3)
    array([0.9, 0.1])

    Parameters
    ----------
    quantile
        ``q``, more than 0 and less than 1. Beyond 0.99 one label in a hundred tells anything: it
        takes many examples.
    """

    quantile: float = 0.5

    def __post_init__(self) -> None:
        check_at_least("QuantileLoss.quantile", self.quantile, 0.0, strictly=True)
        if self.quantile >= 1.0:
            raise ConfigError(
                "QuantileLoss.quantile",
                f"{self.quantile!r} is beyond all labels",
                "Give a share, more than 0 and less than 1.",
            )

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
        below = labels - predictions.astype(np.float64)
        found: Doubles = np.maximum(self.quantile * below, (self.quantile - 1.0) * below)
        return found

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """``-q`` below the label, ``1 - q`` above it, 0 at it."""
        above = np.float32(1.0 - self.quantile)
        found = np.where(predictions > labels, above, np.float32(-self.quantile))
        return np.where(predictions == labels, np.float32(0.0), found)

    def of_constant(self, mean: float, mean_square: float) -> float:
        """``sqrt(q (1 - q))`` standard deviations: no labels with such moments have a greater one.

        Two values, a share ``q`` of the labels at the lower, have it. Gallego and Moon, "The
        Distribution Free Newsboy Problem", Journal of the Operational Research Society 1993.

        >>> QuantileLoss(0.5).of_constant(mean=2.0, mean_square=5.0)
        0.5
        """
        deviation = math.sqrt(max(0.0, mean_square - mean * mean))
        return deviation * math.sqrt(self.quantile * (1.0 - self.quantile))

    def least_evidence(self, of_constant: float) -> float:
        """Four labels two standard deviations off, on the side that costs more."""
        odds = self.quantile / (1.0 - self.quantile)
        return 8.0 * of_constant * math.sqrt(max(odds, 1.0 / odds))
