"""TODO-DOC."""

from __future__ import annotations

import math

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats


def sigmoid(logits: Floats) -> Floats:
    """Probabilities; logits beyond ±30 are cut there, where float32 has long reached 0 or 1.

    >>> sigmoid(np.array([0.0, -1000.0], np.float32)).round(3).tolist()
    [0.5, 0.0]
    """
    # Not np.clip, whose own cost is three times that of both.
    clipped = np.minimum(np.maximum(logits, np.float32(-30.0)), np.float32(30.0))
    return np.float32(1.0) / (np.float32(1.0) + np.exp(-clipped))


def prior_logit(base_rate: float, place: str) -> float:
    """The logit that gives `base_rate`; raises ConfigError unless it lies between 0 and 1."""
    if not 0.0 < base_rate < 1.0:
        raise ConfigError(
            place, f"{base_rate!r} is not a rate", "Give the share of positives, between 0 and 1."
        )
    return math.log(base_rate / (1.0 - base_rate))
