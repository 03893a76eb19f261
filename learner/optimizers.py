"""SGD, Adagrad and FTRL-proximal, as kernels over rows of ``[weights (w) | state]``.

All state starts at zero. The dense vector is one such row. Each takes the gradient summed over
the examples of a step, as their papers do for one example a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from freshrank.actors.compiled import kernel
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, Ints


class Optimizer(Protocol):
    """How weights follow their gradient."""

    @property
    def state_per_weight(self) -> int:
        """Numbers of state that each weight needs."""
        ...

    def update(
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """Change ``rows[positions]`` in place.

        Parameters
        ----------
        rows
            float32[m, w * (1 + state_per_weight)]: weights, then each state in turn.
        positions
            int64[u], distinct.
        gradient
            float32[u, w].
        regularize
            False for dense weights: few, seen by every example, and no candidates for sparsity.
        """
        ...


def _at_least(place: str, value: float, least: float, strictly: bool) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and (value > least if strictly else value >= least)):
        bound = f"more than {least:g}" if strictly else f"{least:g} or more"
        raise ConfigError(place, f"{value!r} is out of range", f"Give {bound}.")


@kernel
def _sgd(rows: Floats, positions: Ints, gradient: Floats, rate: float) -> None:
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(gradient.shape[1]):
            row[j] -= rate * gradient[i, j]


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


class _Proximal(NamedTuple):
    alpha: float
    beta: float
    l1: float
    l2: float


@kernel
def _ftrl(rows: Floats, positions: Ints, gradient: Floats, proximal: _Proximal) -> None:
    alpha, beta, l1, l2 = proximal
    width = gradient.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(width):
            g = np.float64(gradient[i, j])
            w, n = np.float64(row[j]), np.float64(row[width + j])
            z = np.float64(row[2 * width + j])
            if n == 0.0 and w != 0.0:  # first touched: the z whose closed form is the initial w
                z = -w * (beta / alpha + l2) - np.sign(w) * l1
            squares = n + g * g
            z += g - (np.sqrt(squares) - np.sqrt(n)) / alpha * w
            row[width + j] = squares
            row[2 * width + j] = z
            if abs(z) <= l1:
                row[j] = 0.0
            else:
                row[j] = -(z - np.sign(z) * l1) / ((beta + np.sqrt(squares)) / alpha + l2)


@dataclass(frozen=True)
class SGD:
    """``w -= rate * g``."""

    rate: float = 0.01

    def __post_init__(self) -> None:
        _at_least("SGD.rate", self.rate, 0.0, strictly=True)

    @property
    def state_per_weight(self) -> int:
        """None."""
        return 0

    def update(
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        _sgd(rows, positions, gradient, self.rate)


@dataclass(frozen=True)
class Adagrad:
    """``n += g²;  w -= rate * g / (√n + epsilon)``.

    Duchi, Hazan, Singer: "Adaptive Subgradient Methods", JMLR 2011.
    """

    rate: float = 0.05
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        _at_least("Adagrad.rate", self.rate, 0.0, strictly=True)
        _at_least("Adagrad.epsilon", self.epsilon, 0.0, strictly=True)

    @property
    def state_per_weight(self) -> int:
        """The sum of squared gradients."""
        return 1

    def update(
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        _adagrad(rows, positions, gradient, self.rate, self.epsilon)


@dataclass(frozen=True)
class FTRL:
    """FTRL-proximal with per-coordinate rates.

    McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013, algorithm 1.

    A weight that starts elsewhere than at zero (an embedding) starts from the ``z`` that belongs
    to it. `l1` and `l2` hold for the table's rows; dense weights are not regularised.
    """

    alpha: float = 0.05
    beta: float = 1.0
    l1: float = 0.0
    l2: float = 0.0

    def __post_init__(self) -> None:
        _at_least("FTRL.alpha", self.alpha, 0.0, strictly=True)
        _at_least("FTRL.beta", self.beta, 0.0, strictly=True)
        _at_least("FTRL.l1", self.l1, 0.0, strictly=False)
        _at_least("FTRL.l2", self.l2, 0.0, strictly=False)

    @property
    def state_per_weight(self) -> int:
        """``n`` and ``z``."""
        return 2

    def update(
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """See `Optimizer`."""
        l1, l2 = (self.l1, self.l2) if regularize else (0.0, 0.0)
        _ftrl(rows, positions, gradient, _Proximal(self.alpha, self.beta, l1, l2))
