"""A linear support vector machine: a linear model trained by the hinge loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Floats, InputLayout
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.losses import IdentityLink, Loss


@dataclass(frozen=True)
class HingeLoss(Loss):
    """``max(0, 1 - y f)`` of the output ``f``, with ``y`` = 1 for label 1 and -1 for label 0.

    Cortes and Vapnik, "Support-vector networks", Machine Learning 1995.

    >>> HingeLoss().value(np.array([1, 1, 0], np.float32), np.array([2.0, 0.5, 0.5], np.float32))
    array([0. , 0.5, 1.5])
    """

    @property
    def link(self) -> IdentityLink:
        """The prediction is the margin itself: positive for label 1, and no probability."""
        return IdentityLink()

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`."""
        signs = 2.0 * labels.astype(np.float64) - 1.0
        return np.maximum(0.0, 1.0 - signs * predictions)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """``-y`` within the margin, 0 beyond it."""
        signs = np.float32(2.0) * labels - np.float32(1.0)
        return np.where(signs * predictions < 1.0, -signs, np.float32(0.0))

    def of_constant(self, mean: float, mean_square: float) -> float:
        """Twice the share of the rarer label: the best constant is the other label's margin.

        >>> HingeLoss().of_constant(0.25, 0.25)
        0.5
        """
        return 2.0 * min(mean, 1.0 - mean)

    def least_evidence(self, of_constant: float) -> float:
        """20: five examples at a margin of 3 on the wrong side."""
        return 20.0


@dataclass(frozen=True)
class LinearSVM:
    """One weight per id and per dense input, and a bias; the prediction is a margin.

    It ranks; its predictions are not probabilities. Regularisation is the optimiser's
    (``FTRL(l2=...)``).
    """

    def bind(self, layout: InputLayout) -> BoundLinear:
        """Settle the sizes for inputs of `layout`."""
        return BoundLinear(self, layout, HingeLoss(), bias=0.0)
