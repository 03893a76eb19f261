"""SGD, Adagrad and FTRL-proximal, as kernels over rows of ``[weights (w) | state]``.

All state starts at zero. The dense vector is one such row. Each takes the gradient summed over
the examples of a step, as their papers do for one example a step.
"""

from __future__ import annotations

from typing import Protocol

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
