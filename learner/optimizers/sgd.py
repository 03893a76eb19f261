"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.penalties import Penalty, shrunk
from freshrank.learner.optimizers.scheduled import PenalizedOptimizer


@kernel
def _sgd(
    rows: Floats, positions: Ints, gradient: Floats, counts: Floats, rate: float, penalty: Penalty
) -> None:
    pulled = penalty.l1 + penalty.l2 > 0.0
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(gradient.shape[1]):
            row[j] -= rate * gradient[i, j]
            if pulled and j >= penalty.first:
                row[j] = shrunk(row[j], penalty, rate, counts[i])


@dataclass(frozen=True, repr=False)
class SGD(PenalizedOptimizer):
    """``w -= rate * g``, with the gradient summed over the examples of a step."""

    rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("SGD.rate", self.rate, 0.0, strictly=True)

    def state_width(self, width: int) -> int:
        """No state."""
        return 0

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, rate=self.rate * factor)

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        penalty = self.penalty(dense=dense)
        _sgd(rows, positions, gradient.sums, gradient.counts, self.rate, penalty)
