"""The guard's settings: which gradients and weights it refuses, and when it rolls back."""

from __future__ import annotations

from pydantic import Field

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
    most_trips: int = Field(default=50, ge=0)
    """Rollbacks in a row after which the loss counts as normal. A batch each: 13,000 examples with
    the default batch, long enough for a person to react to the alert."""
