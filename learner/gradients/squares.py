"""The sum of the squares of each example's gradient, for models that do not compute it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from freshrank.actors.messages import Floats
from freshrank.learner.models.base import Model


@runtime_checkable
class WithSquares(Protocol):
    """A model that computes the squares at once."""

    def dense_squares(self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats) -> Floats:
        """float32[p]: the sum over rows of the squared gradient of ``output * upstream``."""
        ...


def dense_squares(
    model: Model, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
) -> Floats:
    """float32[p]: see `WithSquares`; row by row where `model` is not one of these."""
    if isinstance(model, WithSquares):
        return model.dense_squares(dense, x, pooled, upstream)
    found = np.zeros_like(dense)
    for row in range(len(x)):
        one = slice(row, row + 1)
        gradient, _ = model.backward(dense, x[one], pooled[one], upstream[one])
        found += np.square(gradient)
    return found
