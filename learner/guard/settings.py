"""The guard's settings: which gradients and weights it refuses, and when it rolls back."""

from __future__ import annotations

import warnings
from typing import Any

from pydantic import Field, model_validator

from freshrank.actors.settings import Section


class GuardSettings(Section):
    """Bounds of gradients, weights and loss beyond which the learner refuses or rolls back."""

    max_weight: float = Field(default=100.0, gt=0)
    """Largest absolute weight; a step that exceeds it is undone. Logits stay within ±16, so a
    weight of 100 has diverged."""
    max_gradient: float = Field(default=1e4, gt=0)
    """Largest norm of the output's gradient, averaged over an offset range. With standardised
    inputs, and weights within their bound, a healthy model's is some tens."""
    gradient_factor: float = Field(default=100.0, gt=1)
    """Largest norm as a multiple of the recent median: single examples differ tenfold."""
    loss_tolerance: float = Field(default=0.3, gt=0)
    """Share by which the loss may exceed the reference before it counts as worse, beyond chance
    (see `LossDriftDetector`)."""
    trial_examples: int = Field(default=2_000, ge=1)
    """Examples that the restored weights score after a rollback before a challenger learns what is
    held back. Poison that is shorter leaves no trace; a change of the world is followed after so
    many examples."""

    @model_validator(mode="before")
    @classmethod
    def _without_most_trips(cls, given: Any) -> Any:
        if isinstance(given, dict) and "most_trips" in given:
            warnings.warn(
                "learner.guard.most_trips has no effect any more: give trial_examples",
                FutureWarning,
                stacklevel=2,
            )
            return {name: value for name, value in given.items() if name != "most_trips"}
        return given
