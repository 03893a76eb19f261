"""The interface of optimisers.

An optimiser is a kernel over rows of ``[weights (w) | state]``. The dense vector is such a row,
and so is each row of the keyed table; all state starts at zero and lies in the row, so that a
checkpoint, an eviction and a rollback move it with the weights. Only rows that have a gradient are
given: its sum over the examples of a step, and the sum of their squares. An optimiser that adapts
its rates by squares learns about the same from examples given singly or by the hundred.

A pipeline file may declare an optimiser of its own: any object with these members will do.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, Ints


class SummedRows(NamedTuple):
    """The gradients of ``u`` rows over the examples of a step.

    With `counts` a step may do what so many steps of a single example would do.
    """

    sums: Floats
    """float32[u, w]."""
    squares: Floats
    """float32[u, w]: the sum of the squares of each example's gradient."""
    counts: Floats
    """float32[u]: how many of the examples have a part in each row."""


def of_one_example(gradient: Floats) -> SummedRows:
    """The gradient float32[u, w] of a single example."""
    return SummedRows(gradient, np.square(gradient), np.ones(len(gradient), np.float32))


@runtime_checkable
class Optimizer(Protocol):
    """How weights follow their gradient.

    Its ``repr`` must be the same in every process and differ where the state does (a frozen
    dataclass does both): the fingerprint of checkpoints is made of it.
    """

    def state_width(self, width: int) -> int:
        """Columns of state behind the weights of a row of `width` weights."""
        ...

    def update(
        self, rows: Floats, positions: Ints, gradient: SummedRows, dense: bool = False
    ) -> None:
        """Change ``rows[positions]`` in place.

        Parameters
        ----------
        rows
            float32[m, w + state_width(w)]: weights, then the state.
        positions
            int64[u], distinct.
        gradient
            Of these rows.
        dense
            Whether it is the row of the dense weights, which have penalties of their own; the
            first of them is the bias of a model, which is not pulled to zero.
        """
        ...


OF_PROBABILITY, OF_NUMBER = 0.25, 1.0
"""Curvatures: of the log loss by log-odds, and of a number's loss by deviations of the labels."""


@runtime_checkable
class SelfTuned(Protocol):
    """An `Optimizer` whose rates depend on the model, and whose dense weights have more state."""

    def for_model(self, inputs: int, linear: int, curvature: float) -> Optimizer:
        """The same, with state of a fixed width, for a model of so many dense inputs and id fields.

        The first `linear` columns of its table's rows are linear weights, the others embeddings.
        `curvature` is the second derivative of the loss by an output, at most: `OF_PROBABILITY` or
        `OF_NUMBER`.
        """
        ...

    def dense_state_width(self, width: int) -> int:
        """Columns of state behind `width` dense weights."""
        ...


@runtime_checkable
class KeepsSquares(Optimizer, Protocol):
    """An `Optimizer` whose state says how much each weight has learned from."""

    def squares(self, rows: Floats, width: int) -> Floats:
        """float32[m, w]: the sum over the examples of each weight's squared gradient.

        `rows` float32[m, w + state] are of the table (or the row of the dense weights), with
        `width` weights.
        """
        ...


def dense_state_width(optimizer: Optimizer, width: int) -> int:
    """Columns of state behind `width` dense weights."""
    if isinstance(optimizer, SelfTuned):
        return optimizer.dense_state_width(width)
    return optimizer.state_width(width)


def check_at_least(place: str, value: float, least: float, *, strictly: bool) -> None:
    """Raise ConfigError at `place` unless `value` is a number of at least (above) `least`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and (value > least if strictly else value >= least)):
        bound = f"more than {least:g}" if strictly else f"{least:g} or more"
        raise ConfigError(place, f"{value!r} is out of range", f"Give {bound}.")
