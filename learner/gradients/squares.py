"""Gradients together with the sum of the squares of each example's gradient."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from freshrank.actors.messages import Floats
from freshrank.learner.models.base import Model


@runtime_checkable
class WithSquares(Protocol):
    """A model that computes the squares in the pass that computes the gradients."""

    def backward_with_squares(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """The gradients of `Model.backward`, and between them float32[p].

        That is the sum over rows of the squared dense gradient of ``output * upstream``.
        """
        ...


def backward_with_squares(
    model: Model, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
) -> tuple[Floats, Floats, Floats]:
    """See `WithSquares`; the squares row by row where `model` is not one of these."""
    if isinstance(model, WithSquares):
        return model.backward_with_squares(dense, x, pooled, upstream)
    squares = np.zeros_like(dense)
    for row in range(len(x)):
        one = slice(row, row + 1)
        of_row, _ = model.backward(dense, x[one], pooled[one], upstream[one])
        squares += np.square(of_row)
    gradient, of_pooled = model.backward(dense, x, pooled, upstream)
    return gradient, squares, of_pooled
