"""Adagrad: a rate for each weight that falls with its squared gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import check_at_least


@kernel
def _adagrad(rows: Floats, positions: Ints, gradient: Floats, rate: float, epsilon: float) -> None:
    width = gradient.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(width):
            g = np.float64(gradient[i, j])
            squares = row[width + j] + g * g
            row[width + j] = squares
            row[j] -= rate * g / (np.sqrt(squares) + epsilon)


@dataclass(frozen=True)
class Adagrad:
    """``n += g²;  w -= rate * g / (√n + epsilon)``.

    Duchi, Hazan, Singer: "Adaptive Subgradient Methods", JMLR 2011.
    """

    rate: float = 0.05
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        check_at_least("Adagrad.rate", self.rate, 0.0, strictly=True)
        check_at_least("Adagrad.epsilon", self.epsilon, 0.0, strictly=True)

    def state_width(self, width: int) -> int:
        """The sum of squared gradients of each weight."""
        return width

    def update(
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        _adagrad(rows, positions, gradient, self.rate, self.epsilon)
