"""Adam, lazily: the moments of a row move only when the row has a gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import SummedRows, check_at_least
from freshrank.learner.optimizers.scheduled import ScheduledOptimizer


class _Rates(NamedTuple):
    rate: float
    beta1: float
    beta2: float
    epsilon: float


@kernel
def _adam(rows: Floats, positions: Ints, gradient: Floats, rates: _Rates) -> None:
    rate, beta1, beta2, epsilon = rates
    width = gradient.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        steps = np.float64(row[3 * width]) + 1.0
        row[3 * width] = steps
        unbiased1, unbiased2 = 1.0 - beta1**steps, 1.0 - beta2**steps
        for j in range(width):
            g = np.float64(gradient[i, j])
            mean = beta1 * row[width + j] + (1.0 - beta1) * g
            square = beta2 * row[2 * width + j] + (1.0 - beta2) * g * g
            row[width + j], row[2 * width + j] = mean, square
            row[j] -= rate * (mean / unbiased1) / (np.sqrt(square / unbiased2) + epsilon)


@dataclass(frozen=True, repr=False)
class Adam(ScheduledOptimizer):
    """Steps of about `rate`, whatever the scale of the gradients and the number of their examples.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1, in the lazy
    form for sparse rows (``LazyAdam`` of TensorFlow Addons, ``SparseAdam`` of PyTorch): a row of
    the table that has no gradient in a step keeps its moments and its weights. Other than there,
    each row counts its own steps for the bias correction: the first step of an id that appears late
    is as long as that of the first ids, where a common count would make it three times as long.

    A row of ``w`` weights keeps ``2 w + 1`` numbers of state: both moments of each weight, and the
    row's steps (exact up to 2^24, long after the correction has become 1).

    Parameters
    ----------
    rate
        Length of a step of each weight, about.
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
        """Two moments of each weight, and the number of the row's steps."""
        return 2 * width + 1

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, rate=self.rate * factor)

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        _adam(
            rows,
            positions,
            gradient.sums,
            _Rates(self.rate, self.beta1, self.beta2, self.epsilon),
        )
