"""Bounds that a gradient has to keep to be learned from, and weights to be published."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Gradient
from freshrank.learner.guard.settings import GuardSettings
from freshrank.learner.models.losses import Loss, residuals_of, sums_of

# Gradients behind the median size. The median moves once half of them have a new size, so that a
# lasting change is not refused for ever.
_REMEMBERED = 255
# With fewer gradients the median is unreliable, and only the absolute bound holds.
_FEWEST = 32


@kernel
def _largest(values: Floats) -> float:
    found = 0.0
    for value in values:
        size = np.float64(abs(value))
        if not size <= found:  # true for NaN, too
            if not np.isfinite(size):
                return np.inf
            found = size
    return found


def largest(values: Floats) -> float:
    """The largest absolute value of an array of any shape; infinite if any is not finite.

    >>> largest(np.array([[1.0, -3.0]], np.float32)), largest(np.array([np.nan], np.float32))
    (3.0, inf)
    """
    return _largest(values.ravel())


@kernel
def _squares(values: Floats) -> float:
    total = 0.0
    for value in values:
        total += np.float64(value) * np.float64(value)
    return total


def weights_error(dense: Floats, rows: Floats, max_weight: float) -> str | None:
    """Why the weights that a step gave must not be published; None when they may be.

    >>> weights_error(np.zeros(1, np.float32), np.array([[2.5]], np.float32), max_weight=2.0)
    'a row weight of 2.5 is beyond 2'
    """
    for name, values in (("dense weight", dense), ("row weight", rows)):
        size = largest(values)
        if size > max_weight:
            return f"a {name} of {size:g} is beyond {max_weight:g}"
    return None


class GradientSizes:
    """Tells exploding gradients from those of many or of surprising examples.

    The gradient of a loss is the sum over examples of the loss's residual times the gradient of the
    output. Divided by the sum of the residuals' sizes, its norm is at most the largest norm of an
    output's gradient among them: whether labels are rare or wrong makes no difference. What is
    typical of the latter is the median over offset ranges of the norm divided by the root of the
    sum of squared residuals, which is right whether the gradients of a range cancel or not.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self.typical: deque[float] = deque(maxlen=_REMEMBERED)

    def error(self, gradient: Gradient, guard: GuardSettings) -> str | None:
        """Why `gradient` must not be learned from; None when it may."""
        dense, rows = _squares(gradient.dense), _squares(gradient.rows.ravel())
        residuals, squares = gradient.residuals or sums_of(
            residuals_of(
                self._loss, gradient.labels, gradient.corrects, gradient.scores, gradient.weights
            )
        )
        for name, value in (("dense gradient", dense), ("row gradient", rows)):
            if not math.isfinite(value):
                return f"a {name} is not finite"
        if not math.isfinite(residuals):
            return "a score or a label is not finite"
        norm = math.sqrt(dense + rows)
        if norm == 0.0:
            return None
        if residuals == 0.0:
            return f"a gradient of norm {norm:g} belongs to examples without any error"
        size, bound = norm / residuals, self._bound(guard)
        self.typical.append(norm / math.sqrt(squares))
        if size > bound:
            return f"a gradient of norm {size:g} per unit of error is beyond {bound:g}"
        return None

    def _bound(self, guard: GuardSettings) -> float:
        if len(self.typical) < _FEWEST:
            return guard.max_gradient
        median = sorted(self.typical)[len(self.typical) // 2]
        return min(guard.max_gradient, guard.gradient_factor * median)
