"""Weights drawn by how uncertain they are, and what they predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from freshrank.actors.messages import Floats, Inputs


@dataclass(frozen=True, slots=True)
class WeightSampling:
    """How weights are drawn: each by a normal distribution around the weight that serves."""

    count: int
    """How many times all weights are drawn: ``s``."""
    prior: float
    """The precision (one over the variance) of a weight before its first example."""
    scale: float
    """What the standard deviations are multiplied by."""


class WeightSampler(Protocol):
    """Predictions by the weights that serve, and by others drawn around them."""

    def __call__(self, inputs: Inputs, sampling: WeightSampling, seed: int) -> Floats:
        """float32[1 + s, n]: of ``n`` input rows; first by the weights themselves.

        The same weights, inputs and seed give the same.
        """
        ...
