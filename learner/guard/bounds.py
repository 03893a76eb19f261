"""What a gradient and a step have to keep to, to be learned from and to be published."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Gradient

# Gradients whose median is what is typical: it moves on once half of them are of a new kind, so
# that a change for good is not refused for ever.
_REMEMBERED = 255
# Below it the median is not worth much, and only the absolute bound holds.
_FEWEST = 32


@kernel
def _largest(values: Floats) -> float:
    found = 0.0
    for value in values:
        size = np.float64(abs(value))
        if not size <= found:  # so that NaN gets in, too
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


@kernel
def _residuals(labels: Floats, scores: Floats) -> tuple[float, float]:
    """The sums of ``|score - label|`` and of its square."""
    sizes, squares = 0.0, 0.0
    for i in range(len(labels)):
        size = abs(np.float64(scores[i]) - np.float64(labels[i]))
        sizes += size
        squares += size * size
    return sizes, squares


@dataclass(frozen=True, slots=True)
class Guard:
    """The bounds.

    Parameters
    ----------
    max_weight
        Largest absolute weight. Logits live within ±16, so a weight of 100 means that something
        has run away.
    max_gradient
        Largest norm of the logit's gradient, averaged over a span. With inputs on a logarithmic
        scale, and weights within their bound, that of a healthy model is some tens.
    gradient_factor
        ... and the most by which it may exceed what is typical: single examples differ by ten.
    loss_tolerance
        By what share the log loss may be worse than before (see `LossDriftDetector`).
    most_trips
        So many times in a row the learner goes back; then the loss counts as the new normal.
        A batch each, 13,000 examples in all: long enough for somebody to look.
    label_delay_ms
        So long after the positives come the negatives that were shown beside them, at most; 0 where
        both are known at once.
    """

    max_weight: float = 100.0
    max_gradient: float = 1e4
    gradient_factor: float = 100.0
    loss_tolerance: float = 0.3
    most_trips: int = 50
    label_delay_ms: int = 0

    def __post_init__(self) -> None:
        bounds = (self.max_weight, self.max_gradient, self.loss_tolerance, self.gradient_factor - 1)
        if min(bounds) <= 0 or self.most_trips < 0:
            raise ConfigError(
                "Guard",
                "nothing could be learned",
                "Give bounds above 0, a factor above 1 and most_trips >= 0.",
            )

    def trouble_with_weights(self, dense: Floats, rows: Floats) -> str | None:
        """Why weights that a step gave must not be published; None when they may."""
        for name, values in (("dense weight", dense), ("row weight", rows)):
            size = largest(values)
            if size > self.max_weight:
                return f"a {name} of {size:g} is beyond {self.max_weight:g}"
        return None


class GradientSizes:
    """Tells gradients that explode from those that are merely of many or of surprising examples.

    The log loss' gradient is the sum over examples of ``(score - label)`` times that of the logit.
    Divided by the sum of ``|score - label|``, its norm is at most the largest norm of a logit's
    gradient among them: whether labels are rare or wrong makes no difference. What is typical of
    the latter is the median over spans of the norm divided by the root of the sum of squares,
    which is right whether the gradients of a span cancel each other or not.
    """

    def __init__(self) -> None:
        self.typical: deque[float] = deque(maxlen=_REMEMBERED)

    def trouble_with(self, gradient: Gradient, guard: Guard) -> str | None:
        """Why `gradient` must not be learned from; None when it may."""
        dense, rows = _squares(gradient.dense), _squares(gradient.rows.ravel())
        residuals, squares = _residuals(gradient.labels, gradient.scores)
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

    def _bound(self, guard: Guard) -> float:
        if len(self.typical) < _FEWEST:
            return guard.max_gradient
        median = sorted(self.typical)[len(self.typical) // 2]
        return min(guard.max_gradient, guard.gradient_factor * median)
