"""What stands between a step and its publication."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.compiled import kernel
from freshrank.actors.messages import Floats, Gradient, Span


@kernel
def _largest(values: Floats) -> float:
    found = 0.0
    for value in values:
        size = np.float64(abs(value))
        if not size <= found:  # so that NaN gets in, too
            if not np.isfinite(size):
                return np.inf
            found = size
    return found


def largest(values: Floats) -> float:
    """The largest absolute value of an array of any shape; infinite if any is not finite.

    >>> largest(np.array([[1.0, -3.0]], np.float32)), largest(np.array([np.nan], np.float32))
    (3.0, inf)
    """
    return _largest(values.ravel())


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A span whose examples were refused: it counts as applied, and nothing was learned of it."""

    span: Span
    reason: str


@dataclass(frozen=True, slots=True)
class Guard:
    """Refuses what would break the weights.

    Parameters
    ----------
    max_weight
        Largest absolute weight. Logits live within ±16, so a weight of 100 means that something
        has run away.
    """

    max_weight: float = 100.0

    def trouble_with_gradient(self, gradient: Gradient) -> str | None:
        """Why `gradient` must not be learned from; None when it may."""
        for name, values in (
            ("dense gradient", gradient.dense),
            ("row gradient", gradient.rows),
            ("score", gradient.scores),
        ):
            if largest(values) == np.inf:
                return f"a {name} is not finite"
        return None

    def trouble_with_weights(self, dense: Floats, rows: Floats) -> str | None:
        """Why weights that a step gave must not be published; None when they may."""
        for name, values in (("dense weight", dense), ("row weight", rows)):
            size = largest(values)
            if size > self.max_weight:
                return f"a {name} of {size:g} is beyond {self.max_weight:g}"
        return None
