"""FTRL-proximal: per-coordinate rates, and rows that L1 keeps at exactly zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.penalties import Penalty
from freshrank.learner.optimizers.scheduled import ScheduledOptimizer


class _Proximal(NamedTuple):
    alpha: float
    beta: float
    moves: bool
    """Whether `alpha` is another than that of the step before."""


@kernel
def _ftrl(
    rows: Floats, positions: Ints, gradient: SummedRows, proximal: _Proximal, penalty: Penalty
) -> None:
    alpha, beta, moves = proximal
    sums, squares, _ = gradient
    width = sums.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(width):
            l1, l2 = (penalty.l1, penalty.l2) if j >= penalty.first else (0.0, 0.0)
            g = np.float64(sums[i, j])
            w, n = np.float64(row[j]), np.float64(row[width + j])
            z = np.float64(row[2 * width + j])
            # First touched, or at another alpha: the z whose closed form is the present w.
            if (n == 0.0 or moves) and w != 0.0:
                z = -w * ((beta + np.sqrt(n)) / alpha + l2) - np.sign(w) * l1
            total = n + np.float64(squares[i, j])
            z += g - (np.sqrt(total) - np.sqrt(n)) / alpha * w
            row[width + j] = total
            row[2 * width + j] = z
            if abs(z) <= l1:
                row[j] = 0.0
            else:
                row[j] = -(z - np.sign(z) * l1) / ((beta + np.sqrt(total)) / alpha + l2)


@dataclass(frozen=True, repr=False)
class FTRL(ScheduledOptimizer):
    """FTRL-proximal with per-coordinate rates.

    McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.

    A weight that starts elsewhere than at zero (an embedding) starts from the ``z`` that belongs
    to it. `l1` and `l2`, those of the table's rows, and `dense_l1` and `dense_l2` are penalties of
    the sum over all examples, as in the paper: a weight has to be worth so much, however often its
    input comes.

    A `schedule` is one of `alpha`. A weight that is not zero then starts each step from the ``z``
    that belongs to it at the present `alpha`, so that it moves by its gradient, never by the rate.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("FTRL.alpha", self.alpha, 0.0, strictly=True)
        check_at_least("FTRL.beta", self.beta, 0.0, strictly=True)

    def state_width(self, width: int) -> int:
        """``n`` and ``z`` of each weight."""
        return 2 * width

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, alpha=self.alpha * factor)

    def squares(self, rows: Floats, width: int) -> Floats:
        """See `KeepsSquares`."""
        return rows[:, width : 2 * width]

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        proximal = _Proximal(self.alpha, self.beta, self.moves)
        _ftrl(rows, positions, gradient, proximal, self.penalty(dense=dense))
