"""Sums over the examples of a gradient: how many, their loss, and moments of their labels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.messages import Bools, Doubles, Floats, Gradient
from freshrank.learner.models.losses import Loss, losses_of


def new_examples(gradient: Gradient) -> int:
    """How many of its examples correct none of before."""
    corrects = gradient.corrects
    return len(gradient) - (0 if corrects is None else int(np.count_nonzero(corrects)))


def added_loss(loss: Loss, gradient: Gradient, predictions: Floats) -> float:
    """The loss of `predictions` of its examples, less that of the labels that they correct."""
    values, before = losses_of(
        loss, gradient.labels, gradient.corrects, predictions, gradient.weights
    )
    return float((values - before).sum())


def label_moments(
    loss: Loss, labels: Floats, corrects: Bools | None, weights: Floats | None
) -> Doubles:
    """float64[n, m + 1]: `Loss.label_moments` times the weights, and what the weights add up to.

    A correction takes back the weight 1 of what it corrects.

    >>> from freshrank.learner.models.losses import LogLoss
    >>> labels = np.array([1, 0], np.float32)
    >>> label_moments(LogLoss(), labels, None, np.array([2, 3], np.float32)).tolist()
    [[2.0, 2.0, 2.0], [0.0, 0.0, 3.0]]
    """
    own = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    added = own if corrects is None else own - corrects
    return np.concatenate([loss.label_moments(labels) * own[:, None], added[:, None]], axis=1)


def constant_loss(loss: Loss, sums: Doubles, examples: float) -> float:
    """The loss of the best constant prediction for a mean example, by its weight.

    `sums` float64[m + 1] are those of `label_moments` over so many examples. A few may correct more
    than there are of them: all are positive then.

    >>> from freshrank.learner.models.losses import LogLoss
    >>> round(constant_loss(LogLoss(), np.array([3.0, 3.0, 6.0]), 3), 4)  # twice ln 2
    1.3863
    """
    weight = float(sums[-1])
    if weight <= 0.0:
        return 0.0
    most = 1.0 if loss.binary else math.inf
    return weight / examples * loss.of_moments(np.minimum(sums[:-1] / weight, most))


def loss_sums(loss: Loss, gradient: Gradient) -> Doubles:
    """Sum up the examples of a gradient for `LossDriftDetector.excess_of`.

    float64[3 + m]: number, loss, and `label_moments`. A correction counts with what it corrects as
    one example.
    """
    losses = added_loss(loss, gradient, gradient.scores)
    moments = label_moments(loss, gradient.labels, gradient.corrects, gradient.weights)
    return np.concatenate([[new_examples(gradient), losses], moments.sum(axis=0)])


def no_sums(loss: Loss) -> Doubles:
    """The `loss_sums` of no example."""
    return np.zeros(2 + label_moment_count(loss))


def kept_sums(sums: Sequence[float], loss: Loss) -> Doubles:
    """Those of a file; those of before knew no weights: each example had that of 1."""
    missing = len(no_sums(loss)) - len(sums)
    return np.array([*sums, *sums[:missing]])


def label_moment_count(loss: Loss) -> int:
    """``m + 1``: the width of `label_moments`."""
    return len(label_moments(loss, np.zeros(0, np.float32), None, None).T)
