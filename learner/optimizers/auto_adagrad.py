"""Adagrad that finds its rates: by the number of inputs, and by the effect of larger rates.

Two things decide about a good rate of a weight, and neither is known when a pipeline is written.

- How many inputs answer for the same error. Each moves the output by its own step, so that 39
  fields correct an error 39 times. Normalised LMS (Nagumo, Noda: "A learning method for system
  identification", IEEE TAC 1967) divides the rate by the inputs' squared norm, which is their
  number where they are ids; so it is done here with the rate of ids. An id that is met for the
  first time has nothing but this rate: it has to be right at once.
- How much of what was learned is noise, and how much is gone because the world has moved. A weight
  that has a gradient in each example has the time to find out: its rate follows the hypergradient,
  the derivative of the loss by the logarithm of the rate (Sutton: "Adapting Bias by Gradient
  Descent: An Incremental Version of Delta-Bar-Delta", AAAI 1992; Baydin et al.: "Online Learning
  Rate Adaptation with Hypergradient Descent", ICLR 2018), by steps of Adagrad's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import numpy as np

from freshrank.actors.kernels.compile import kernel, subkernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.optimizers.base import OF_PROBABILITY, SummedRows, check_at_least
from freshrank.learner.optimizers.penalties import Penalty, shrunk
from freshrank.learner.optimizers.scheduled import PenalizedOptimizer

# The rate of the linear weights of all inputs together, the greatest of a single weight (an id
# alone has to average its own noise), and that of each column of an embedding. These and the
# constants below were chosen by the streams of the benches `online` and `delay`.
OF_ALL_INPUTS, OF_ONE_INPUT, OF_EMBEDDINGS = 4.5, 0.7, 0.1


class RowRates(NamedTuple):
    """Of the table's rows."""

    linear: float
    embedding: float
    columns: int
    """How many of the first columns are linear weights."""


class Group(NamedTuple):
    """Dense weights that share a rate, whose logarithm is in the row's state and adapts."""

    begin: int
    end: int
    rate: float
    """To begin with."""
    meta_rate: float
    """Of the logarithm of the rate."""
    at: int
    """The column of the logarithm; the sum of its squared hypergradients is in the next."""


# Rates, to begin with, and the rates of their logarithms.
_BIAS, _OTHERS = (0.5, 0.1), (0.2, 0.3)
# Natural logarithm of the factor, some fifteen, by which rates may leave where they began.
_FARTHEST = 2.7
# Squared hypergradients that count as seen: those of the first examples are tiny.
_SEEN = 1e-3
_GROUPS = 2


@kernel
def update_rows(
    rows: Floats,
    positions: Ints,
    gradient: SummedRows,
    rates: RowRates,
    penalty: Penalty,
) -> None:
    """Rows of ``[weights (w) | squares (w)]``."""
    sums, squares, counts = gradient
    pulled = penalty.l1 + penalty.l2 > 0.0
    width = sums.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for j in range(width):
            total = row[width + j] + np.float64(squares[i, j])
            of_column = rates.linear if j < rates.columns else rates.embedding
            rate = of_column / (1.0 + np.sqrt(total))
            row[width + j] = total
            row[j] -= rate * np.float64(sums[i, j])
            if pulled:
                row[j] = shrunk(row[j], penalty, rate, counts[i])


@subkernel
def _rate(row: Floats, sums: Floats, group: Group) -> float:
    """The rate of a group by which it takes this step: the hypergradient has moved it."""
    traces, at = 2 * len(sums), group.at
    hypergradient = 0.0
    for j in range(group.begin, group.end):
        hypergradient += np.float64(sums[j]) * np.float64(row[traces + j])
    if hypergradient != 0.0:
        total = row[at + 1] + hypergradient * hypergradient
        moved = row[at] - group.meta_rate * hypergradient / np.sqrt(_SEEN + total)
        row[at], row[at + 1] = min(_FARTHEST, max(-_FARTHEST, moved)), total
    return float(group.rate * np.exp(np.float64(row[at])))


@kernel
def update_dense(
    rows: Floats,
    positions: Ints,
    gradient: SummedRows,
    groups: tuple[Group, Group],
    penalty: Penalty,
) -> None:
    """Rows of ``[weights (w) | squares (w) | traces (w) | of each group: log rate, its squares]``.

    A weight's trace is its derivative by the logarithm of its rate. The squared gradients stand for
    the curvature by which a trace fades: for log loss they are the same in the mean.
    """
    sums, squares, counts = gradient
    pulled = penalty.l1 + penalty.l2 > 0.0
    width = sums.shape[1]
    for i in range(len(positions)):
        row = rows[positions[i]]
        for group in groups:
            of_group = _rate(row, sums[i], group)
            for j in range(group.begin, group.end):
                squared = np.float64(squares[i, j])
                total = row[width + j] + squared
                rate = of_group / (1.0 + np.sqrt(total))
                step = rate * np.float64(sums[i, j])
                row[width + j] = total
                row[j] -= step
                trace = np.float64(row[2 * width + j])
                row[2 * width + j] = trace * np.exp(-rate * squared) - step
                if pulled and j >= penalty.first:
                    row[j] = shrunk(row[j], penalty, rate, counts[i])


@dataclass(frozen=True, repr=False)
class AutoAdagrad(PenalizedOptimizer):
    """``n += Σ g²;  w -= rate * Σ g / (1 + √n)``, at rates that need no tuning.

    The rate of ids' linear weights is that of all inputs together through their number, within a
    bound. The rate of the bias and that of the other dense weights follow their hypergradients,
    from where they begin to fifteen times as much or as little.

    Parameters
    ----------
    rate
        What all these rates are multiplied by. Leave it at 1.
    inputs
        How many dense inputs and id fields the model has. A learner gives the number itself.
    linear
        How many of the first columns of the table's rows are linear weights; those behind them are
        embeddings. A learner gives it itself.
    curvature
        Of the loss by an output, at most. A learner gives it itself: where labels are numbers an
        error moves the loss four times as fast as that of a probability, whose log-odds have the
        larger unit, and so the ids' rate is a quarter.

    >>> optimizer = AutoAdagrad().for_model(8, linear=1, curvature=OF_PROBABILITY)
    >>> row = np.zeros((1, 1 + optimizer.state_width(1)), np.float32)
    >>> ones = np.ones((1, 1), np.float32)
    >>> optimizer.update(row, np.array([0]), SummedRows(ones, ones, ones[0]))
    >>> row.round(2).tolist()
    [[-0.25, 1.0]]
    """

    rate: float = 1.0
    inputs: int = field(default=1, kw_only=True)
    linear: int = field(default=1, kw_only=True)
    curvature: float = field(default=OF_PROBABILITY, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("AutoAdagrad.rate", self.rate, 0.0, strictly=True)
        check_at_least("AutoAdagrad.inputs", self.inputs, 0.0, strictly=False)

    def state_width(self, width: int) -> int:
        """The sum of squared gradients of each weight."""
        return width

    def dense_state_width(self, width: int) -> int:
        """See `SelfTuned`: squares and traces of each weight, and what moves the rates."""
        return 2 * width + 2 * _GROUPS

    def with_rate_of(self, factor: float) -> Self:
        """See `ScheduledOptimizer`."""
        return replace(self, rate=self.rate * factor)

    def for_model(self, inputs: int, linear: int, curvature: float) -> Self:
        """See `SelfTuned`."""
        return replace(self, inputs=inputs, linear=linear, curvature=curvature)

    def squares(self, rows: Floats, width: int) -> Floats:
        """See `KeepsSquares`."""
        return rows[:, width : 2 * width]

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """See `Optimizer`."""
        if dense:
            update_dense(rows, positions, gradient, *self.of_dense(gradient.sums.shape[1]))
        else:
            update_rows(rows, positions, gradient, *self.of_rows())

    def of_rows(self) -> tuple[RowRates, Penalty]:
        """What `update_rows` is given."""
        linear = min(OF_ONE_INPUT, OF_ALL_INPUTS / (1.0 + self.inputs))
        linear *= OF_PROBABILITY / self.curvature
        rates = RowRates(self.rate * linear, self.rate * OF_EMBEDDINGS, self.linear)
        return rates, self.penalty(dense=False)

    def of_dense(self, width: int) -> tuple[tuple[Group, Group], Penalty]:
        """What `update_dense` is given for so many dense weights."""
        bias = Group(0, 1, self.rate * _BIAS[0], _BIAS[1], 3 * width)
        others = Group(1, width, self.rate * _OTHERS[0], _OTHERS[1], 3 * width + 2)
        return (bias, others), self.penalty(dense=True)
