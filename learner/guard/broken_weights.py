"""Recognises weights that predict worse than the base rate of the labels does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.messages import Doubles, Gradient
from freshrank.learner.evaluation.loss_sums import (
    added_loss,
    label_moment_count,
    label_moments,
    new_examples,
)
from freshrank.learner.models.losses import Loss

# Examples of a window: twice what a model needs to be validated.
WINDOW = 2_000
# Windows in a row, each worse than the base rate and none of them better than the one before these.
_WINDOWS = 3
# The share by which the loss has to fall to be called better.
_BETTER = 0.05


class BrokenWeightsDetector:
    """Compares the loss of the weights with that of the base rate, over windows of `WINDOW`.

    The base rate is the mean of the labels before each offset range, older ones fading over
    `WINDOW` examples: a constant prediction that anybody could have made at the time. Weights are
    broken when their loss exceeds that of the base rate by the share `tolerance` in four windows in
    a row and did not fall by 5 % within them. So a model that still learns is not taken for broken.

    >>> from freshrank.learner.models.losses import LogLoss
    >>> str(BrokenWeightsDetector(LogLoss(), tolerance=0.3))
    ''
    """

    def __init__(self, loss: Loss, tolerance: float) -> None:
        self._loss = loss
        self._tolerance = tolerance
        self._moments: Doubles = np.zeros(label_moment_count(loss))
        self._count, self._of_weights, self._of_base_rate = 0, 0.0, 0.0
        self._best = math.inf
        """The mean loss that the weights have to fall below; infinite when they are not worse."""
        self._worse = 0
        """Windows in a row that were worse and did not."""
        self._text = ""

    def __str__(self) -> str:
        """What is wrong with the weights; empty when nothing is."""
        return self._text

    def add(self, gradient: Gradient) -> bool:
        """Add scored examples; return True if the weights that scored them are broken."""
        count, weight = new_examples(gradient), self._moments[-1]
        if weight > 0.0:
            constant = self._loss.constant_of(self._moments[:-1] / weight)
            rate = np.broadcast_to(constant, gradient.scores.shape)
            self._count += count
            self._of_weights += added_loss(self._loss, gradient, gradient.scores)
            self._of_base_rate += added_loss(self._loss, gradient, rate)
        fade = math.exp(-count / WINDOW)
        moments = label_moments(self._loss, gradient.labels, gradient.corrects, gradient.weights)
        self._moments = self._moments * fade + moments.sum(axis=0)
        return self._count >= WINDOW and self._window_is_broken()

    def _window_is_broken(self) -> bool:
        loss, base = self._of_weights / self._count, self._of_base_rate / self._count
        worse = loss > (1.0 + self._tolerance) * base
        stuck = worse and loss > (1.0 - _BETTER) * self._best
        self._worse = self._worse + 1 if stuck else 0
        if not stuck:
            self._best = loss if worse else math.inf
        self._count, self._of_weights, self._of_base_rate = 0, 0.0, 0.0
        name = self._loss.name.replace("_", " ")
        self._text = f"{name} {loss:.3f}, {base:.3f} of the base rate" if stuck else ""
        return self._worse >= _WINDOWS

    def start_over(self) -> None:
        """Other weights score from now on: forget how those of before did."""
        self._count, self._of_weights, self._of_base_rate = 0, 0.0, 0.0
        self._best, self._worse = math.inf, 0

    def state(self) -> list[float | None]:
        """Return the state for a checkpoint."""
        best = None if math.isinf(self._best) else self._best
        *moments, weight = self._moments.tolist()
        sums = [weight, *moments, self._of_weights, self._of_base_rate]
        return [*sums, best, self._count, self._worse]

    def restore(self, state: Sequence[float | None]) -> None:
        """Continue from the result of `state`; that of before has the sum of the labels only."""
        *sums, best, count, worse = state
        weight, *moments, self._of_weights, self._of_base_rate = (value or 0.0 for value in sums)
        self._moments[: len(moments)], self._moments[-1] = moments, weight
        self._best = math.inf if best is None else best
        self._count, self._worse = int(count or 0), int(worse or 0)
