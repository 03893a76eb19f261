"""Sums over the examples of a gradient: how many, their loss, and moments of their labels."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Doubles, Floats, Gradient
from freshrank.learner.models.losses import Loss, losses_of


def new_examples(gradient: Gradient) -> int:
    """How many of its examples correct none of before."""
    corrects = gradient.corrects
    return len(gradient) - (0 if corrects is None else int(np.count_nonzero(corrects)))


def added_loss(loss: Loss, gradient: Gradient, predictions: Floats) -> float:
    """The loss of `predictions` of its examples, less that of the labels that they correct."""
    values, before = losses_of(loss, gradient.labels, gradient.corrects, predictions)
    return float((values - before).sum())


def loss_sums(loss: Loss, gradient: Gradient) -> Doubles:
    """Sum up the examples of a gradient for `LossDriftDetector.excess_of`.

    float64[2 + m]: number, loss, and the moments of labels (`Loss.label_moments`). A correction
    counts with what it corrects as one example.
    """
    losses = added_loss(loss, gradient, gradient.scores)
    moments = loss.label_moments(gradient.labels).sum(axis=0)
    return np.concatenate([[new_examples(gradient), losses], moments])


def no_sums(loss: Loss) -> Doubles:
    """The `loss_sums` of no example."""
    return np.zeros(2 + label_moment_count(loss))


def label_moment_count(loss: Loss) -> int:
    """``m``: the number of moments of its labels (`Loss.label_moments`)."""
    return len(loss.label_moments(np.zeros(0, np.float32)).T)
