"""What an optimiser is to the rest of the system.

An optimiser is a kernel over rows of ``[weights (w) | state]``. The dense vector is one such row,
each row of the keyed table another; all state starts at zero and lies in the row, so a checkpoint,
an eviction and a rollback move it with the weights. Only rows that have a gradient are given, and
the gradient is the sum over the examples of a step.

A pipeline file may declare an optimiser of its own: any object with these members will do.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, Ints


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
        self, rows: Floats, positions: Ints, gradient: Floats, regularize: bool = True
    ) -> None:
        """Change ``rows[positions]`` in place.

        Parameters
        ----------
        rows
            float32[m, w + state_width(w)]: weights, then the state.
        positions
            int64[u], distinct.
        gradient
            float32[u, w].
        regularize
            False for dense weights: few, seen by every example, and no candidates for sparsity.
        """
        ...


def check_at_least(place: str, value: float, least: float, *, strictly: bool) -> None:
    """Raise ConfigError at `place` unless `value` is a number of at least (above) `least`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and (value > least if strictly else value >= least)):
        bound = f"more than {least:g}" if strictly else f"{least:g} or more"
        raise ConfigError(place, f"{value!r} is out of range", f"Give {bound}.")
