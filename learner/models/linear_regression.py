"""Linear regression: a linear model of a number, and the squared loss that it is trained by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.messages import Doubles, Floats, InputLayout
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.losses import IdentityLink, Loss


@dataclass(frozen=True)
class SquaredLoss(Loss):
    """``(f - label)²`` of the output ``f``: its mean is the mean squared error.

    >>> SquaredLoss().value(np.array([1, 3], np.float32), np.array([1.5, 1.0], np.float32))
    array([0.25, 4.  ])
    """

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
        return np.square(predictions.astype(np.float64) - labels)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """``2 (f - label)``."""
        return np.float32(2.0) * (predictions - labels)

    def of_constant(self, mean: float, mean_square: float) -> float:
        """The variance of the labels: the best constant is their mean.

        >>> SquaredLoss().of_constant(mean=2.0, mean_square=5.0)
        1.0
        """
        return max(0.0, mean_square - mean * mean)

    def least_evidence(self, of_constant: float) -> float:
        """16 variances: four labels two deviations off, predicted on the wrong side of the mean."""
        return 16.0 * of_constant


@dataclass(frozen=True)
class LinearRegression:
    """One weight per id and per dense input, and a bias; the prediction is a number.

    The unit of the labels does not matter: weights are learned for labels in standard deviations
    from their mean, which are learned as they come (`freshrank.learner.parameters.target_scale`).

    Parameters
    ----------
    bias
        The prediction before the first example.
    loss
        What is made small: the squared loss gives the mean of the labels, `QuantileLoss` a
        quantile, `HuberLoss` what few wild labels hardly move. May be one of the pipeline's own.
    """

    bias: float = 0.0
    # Not in the repr, which is a part of fingerprints that are older than it.
    loss: Loss = field(default=SquaredLoss(), kw_only=True, repr=False)

    def bind(self, layout: InputLayout) -> BoundLinear:
        """Settle the sizes for inputs of `layout`."""
        return BoundLinear(self, layout, self.loss, self.bias)
