"""Adam, lazily: the moments of a row move only when the row has a gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.penalties import Penalty, shrunk
from freshrank.learner.optimizers.scheduled import PenalizedOptimizer

# Float32 counts no further by ones; the corrections of the bias have become 1 long before.
_MOST_EXAMPLES = 2.0**24


class _AdamRates(NamedTuple):
    rate: float
    beta1: float
    beta2: float
    epsilon: float


@kernel
def _adam(
    rows: Floats, positions: Ints, gradient: SummedRows, rates: _AdamRates, penalty: Penalty
) -> None:
    rate, beta1, beta2, epsilon = rates
    sums, squares, counts = gradient
    pulled = penalty.l1 + penalty.l2 > 0.0
    width = sums.shape[1]
    for i in range(len(positions)):
        row, count = rows[positions[i]], np.float64(counts[i])
        if count <= 0.0:
            continue
        examples = min(np.float64(row[3 * width]) + count, _MOST_EXAMPLES)
        row[3 * width] = examples
        kept1, kept2 = beta1**count, beta2**count
        unbiased1, unbiased2 = 1.0 - beta1**examples, 1.0 - beta2**examples
        # The sum over the examples of beta1^1, beta1^2, ...: what remains of the moment before.
        remains = beta1 * (1.0 - kept1) / (1.0 - beta1)
        for j in range(width):
            g, before = np.float64(sums[i, j]) / count, np.float64(row[width + j])
            square = kept2 * row[2 * width + j] + (1.0 - kept2) * np.float64(squares[i, j]) / count
            row[width + j], row[2 * width + j] = kept1 * before + (1.0 - kept1) * g, square
            moved = remains * before + (count - remains) * g
            row[j] -= rate * (moved / unbiased1) / (np.sqrt(square / unbiased2) + epsilon)
            if pulled and j >= penalty.first:
                row[j] = shrunk(row[j], penalty, rate, count)


@dataclass(frozen=True, repr=False)
class Adam(PenalizedOptimizer):
    """Steps of about `rate` for each example, whatever the scale of the gradients.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, in the lazy
    form for sparse rows (``LazyAdam`` of TensorFlow Addons, ``SparseAdam`` of PyTorch): a row of
    the table that has no gradient in a step keeps its moments and its weights. Other than there,
    each row counts its own examples for the bias correction: the first step of an id that appears
    late is as long as that of the first ids, where a common count would make it three times as
    long. A step of many examples does what as many steps of one with their mean gradient and mean
    square would do: the moments fade by examples and not by steps.

    Penalties pull at `rate`, whatever the moments, as in AdamW (Loshchilov and Hutter, "Decoupled
    Weight Decay Regularization", ICLR 2019).

    A row of ``w`` weights keeps ``2 w + 1`` numbers of state: both moments of each weight, and the
    number of the row's examples (up to 2^24, long after the correction has become 1).

    Parameters
    ----------
    rate
        How far an example moves each weight of its rows, about.
    beta1, beta2
        Decay of the first and of the second moment, in [0, 1).
    epsilon
        Keeps the step finite where the second moment vanishes.
    schedule
        What becomes of `rate`; the moments do not depend on it.
    """

    rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("Adam.rate", self.rate, 0.0, strictly=True)
        check_at_least("Adam.epsilon", self.epsilon, 0.0, strictly=True)
        for name, beta in (("beta1", self.beta1), ("beta2", self.beta2)):
            check_at_least(f"Adam.{name}", beta, 0.0, strictly=False)
            if beta >= 1.0:
                raise ConfigError(f"Adam.{name}", f"{beta!r} never forgets", "Give less than 1.")

    def state_width(self, width: int) -> int:
        """Two moments of each weight, and the number of the row's examples."""
        return 2 * width + 1

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, rate=self.rate * factor)

    def squares(self, rows: Floats, width: int) -> Floats:
        """See `KeepsSquares`: the mean of the last ones, as many times as there were examples."""
        examples = rows[:, 3 * width :]
        unbiased = np.maximum(1.0 - np.power(self.beta2, examples, dtype=np.float64), self.epsilon)
        return (rows[:, 2 * width : 3 * width] / unbiased * examples).astype(np.float32)

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        _adam(
            rows,
            positions,
            gradient,
            _AdamRates(self.rate, self.beta1, self.beta2, self.epsilon),
            self.penalty(dense=dense),
        )
