"""Gradients together with the sum of the squares of each example's gradient."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class _RowByRow:
    """Gives a model that does not compute them the squares."""

    model: Model

    def backward_with_squares(
        self, dense: Floats, x: Floats, pooled: Floats, upstream: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """See `WithSquares`."""
        squares = np.zeros_like(dense)
        for row in range(len(x)):
            one = slice(row, row + 1)
            of_row, _ = self.model.backward(dense, x[one], pooled[one], upstream[one])
            squares += np.square(of_row)
        gradient, of_pooled = self.model.backward(dense, x, pooled, upstream)
        return gradient, squares, of_pooled


def with_squares(model: Model) -> WithSquares:
    """The model itself, or row by row what it does not compute."""
    return model if isinstance(model, WithSquares) else _RowByRow(model)
