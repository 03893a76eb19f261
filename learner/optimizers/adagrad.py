"""Adagrad: a rate for each weight that falls with its squared gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.penalties import Penalty, shrunk
from freshrank.learner.optimizers.scheduled import PenalizedOptimizer

# Rates by which a step moves a weight at most. A single example moves it by one; the first thousand
# at once, which agree before any of them is learned, would move it by the root of their number.
FARTHEST = 4.0


class _AdagradRates(NamedTuple):
    rate: float
    epsilon: float


@kernel
def _adagrad(
    rows: Floats, positions: Ints, gradient: SummedRows, rates: _AdagradRates, penalty: Penalty
) -> None:
    rate, epsilon = rates
    sums, squares, counts = gradient
    pulled = penalty.l1 + penalty.l2 > 0.0
    width = sums.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(width):
            g = np.float64(sums[i, j])
            total = row[width + j] + np.float64(squares[i, j])
            row[width + j] = total
            step = g / (np.sqrt(total) + epsilon)
            row[j] -= rate * min(FARTHEST, max(-FARTHEST, step))
            if pulled and j >= penalty.first:
                row[j] = shrunk(row[j], penalty, rate / max(1.0, np.sqrt(total)), counts[i])


@dataclass(frozen=True, repr=False)
class Adagrad(PenalizedOptimizer):
    """``n += Σ g²;  w -= rate * Σ g / (√n + epsilon)``, at most four times the rate.

    Duchi, Hazan, Singer: "Adaptive Subgradient Methods", JMLR 2011. The squares are those of each
    example's gradient: with the square of a step's summed gradient, a step of many examples would
    move a weight as far as a step of one. Penalties pull at the rate of the weight, at `rate` at
    most: a weight that had no gradient worth mentioning is not pulled away at once.
    """

    rate: float = 0.05
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("Adagrad.rate", self.rate, 0.0, strictly=True)
        check_at_least("Adagrad.epsilon", self.epsilon, 0.0, strictly=True)

    def state_width(self, width: int) -> int:
        """The sum of squared gradients of each weight."""
        return width

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, rate=self.rate * factor)

    def squares(self, rows: Floats, width: int) -> Floats:
        """See `KeepsSquares`."""
        return rows[:, width : 2 * width]

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        rates = _AdagradRates(self.rate, self.epsilon)
        _adagrad(rows, positions, gradient, rates, self.penalty(dense=dense))
