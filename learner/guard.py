"""What stands between a step and its publication."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Floats, Gradient, Span


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
            if not np.isfinite(values).all():
                return f"a {name} is not finite"
        return None

    def trouble_with_weights(self, dense: Floats, rows: Floats) -> str | None:
        """Why weights that a step gave must not be published; None when they may."""
        for name, values in (("dense weight", dense), ("row weight", rows)):
            largest = float(np.max(np.abs(values), initial=0.0))
            if not largest <= self.max_weight:  # so that NaN is refused, too
                return f"a {name} of {largest:g} is beyond {self.max_weight:g}"
        return None
