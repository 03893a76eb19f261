"""What examples add to a loss: each by its weight, and less what it corrects."""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Bools, Doubles, Floats
from freshrank.learner.models.losses.loss import Loss


def residuals_of(
    loss: Loss,
    labels: Floats,
    corrects: Bools | None,
    predictions: Floats,
    weights: Floats | None = None,
) -> Floats:
    """float32[n]: the derivatives, with respect to the outputs, of what examples add to the loss.

    Each counts `weights` times, float32[n]; None: once.

    An example that `corrects` one of before, bool[n], adds the loss of its label less the loss of
    the label 0, which was learned then: so both together add what the true label does.

    >>> from freshrank.learner.models.losses.log_loss import LogLoss
    >>> labels, predictions = np.array([1, 1], np.float32), np.array([0.25, 0.25], np.float32)
    >>> residuals_of(LogLoss(), labels, np.array([False, True]), predictions).tolist()
    [-0.75, -1.0]
    """
    found = loss.residual(labels, predictions)
    if weights is not None:
        found = (found.T * weights).T  # of classes [n, c]
    if corrects is None:
        return found
    before = loss.residual(np.zeros_like(labels), predictions)
    return found - np.where(corrects, before, np.float32(0.0))


def sums_of(residuals: Floats) -> tuple[float, float]:
    """The sums of the sizes and of the squares of float32[n] or [n, c]."""
    return _sums(residuals.ravel())


@kernel
def _sums(residuals: Floats) -> tuple[float, float]:
    sizes, squares = 0.0, 0.0
    for residual in residuals:
        size = abs(np.float64(residual))
        sizes += size
        squares += size * size
    return sizes, squares


def losses_of(
    loss: Loss,
    labels: Floats,
    corrects: Bools | None,
    predictions: Floats,
    weights: Floats | None = None,
) -> tuple[Doubles, Doubles]:
    """float64[n] each: the loss of each label, and what it takes back of a loss of before.

    The first counts `weights` times, float32[n]; None: once.

    >>> from freshrank.learner.models.losses.log_loss import LogLoss
    >>> labels, predictions = np.array([1, 1], np.float32), np.array([0.25, 0.25], np.float32)
    >>> found = losses_of(LogLoss(), labels, np.array([False, True]), predictions)
    >>> [part.round(3).tolist() for part in found]
    [[1.386, 1.386], [0.0, 0.288]]
    """
    values = loss.value(labels, predictions)
    if weights is not None:
        values = values * weights
    if corrects is None:
        return values, np.zeros(len(values))
    before = loss.value(np.zeros_like(labels), predictions)
    return values, np.where(corrects, before, 0.0)
