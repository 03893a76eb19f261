"""Links: from a model's output to its prediction, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Doubles, Floats

# Float32 cannot tell probabilities closer to 0 or 1 apart. Bounds the log loss of one example at
# 16 nats.
LEAST_PROBABILITY = 1e-7


class Link(Protocol):
    """A strictly increasing map between a model's output and its prediction."""

    def prediction(self, outputs: Floats) -> Floats:
        """float32[n]: what is served, from raw outputs float32[n]."""
        ...

    def output(self, predictions: Floats) -> Doubles:
        """float64[n]: the inverse of `prediction`."""
        ...


@kernel
def _logits(probabilities: Floats) -> Doubles:
    out = np.empty(len(probabilities))
    for i in range(len(probabilities)):
        p = min(max(np.float64(probabilities[i]), LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
        out[i] = np.log(p / (1.0 - p))
    return out


@dataclass(frozen=True)
class LogitLink:
    """The prediction is the probability of label 1, the output its log-odds.

    >>> LogitLink().prediction(np.array([0.0, -1000.0], np.float32)).round(3).tolist()
    [0.5, 0.0]
    >>> LogitLink().output(np.array([0.5, 0.75], np.float32)).round(3).tolist()
    [0.0, 1.099]
    """

    def prediction(self, outputs: Floats) -> Floats:
        """See `Link`. Outputs are cut at ±30, where float32 has long reached 0 or 1."""
        # np.clip costs three times as much as both of these.
        clipped = np.minimum(np.maximum(outputs, np.float32(-30.0)), np.float32(30.0))
        return np.float32(1.0) / (np.float32(1.0) + np.exp(-clipped))

    def output(self, predictions: Floats) -> Doubles:
        """See `Link`. Probabilities are cut at `LEAST_PROBABILITY` from 0 and 1."""
        return _logits(predictions)


@dataclass(frozen=True)
class IdentityLink:
    """The prediction is the output."""

    def prediction(self, outputs: Floats) -> Floats:
        """See `Link`."""
        return outputs

    def output(self, predictions: Floats) -> Doubles:
        """See `Link`."""
        return predictions.astype(np.float64)


def prior_logit(base_rate: float, place: str) -> float:
    """The logit that gives `base_rate`; raises ConfigError unless it lies between 0 and 1."""
    if not 0.0 < base_rate < 1.0:
        fix = "Give the share of positives, between 0 and 1."
        raise ConfigError(place, f"{base_rate!r} is not a rate", fix)
    return math.log(base_rate / (1.0 - base_rate))
