"""Stochastic gradient descent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.scheduled import ScheduledOptimizer


@kernel
def _sgd(rows: Floats, positions: Ints, gradient: Floats, rate: float) -> None:
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(gradient.shape[1]):
            row[j] -= rate * gradient[i, j]


@dataclass(frozen=True, repr=False)
class SGD(ScheduledOptimizer):
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
        self, rows: Floats, positions: Ints, gradient: SummedRows, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        _sgd(rows, positions, gradient.sums, self.rate)
