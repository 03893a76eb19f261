"""How good the predictions of a learner were, and the ranks of learners by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.benchmarks.online.stream_file import Kind
from freshrank.learner.evaluation.metrics import exact_auc

LEAST_PROBABILITY = 1e-7
"""Of a label, for the log loss: as of the product's own."""


class StreamQuality(NamedTuple):
    """Of one learner on one stream."""

    value: float
    """AUC of labels 0 and 1, accuracy of classes, mean absolute error of numbers."""
    log_loss: float
    """Mean, in nats; NaN for numbers."""


MEASURES: Mapping[Kind, str] = {"binary": "auc", "class": "accuracy", "number": "mae"}
"""What `StreamQuality.value` is."""


def quality(kind: Kind, labels: Floats, predictions: Doubles) -> StreamQuality:
    """Of predictions float64[n], of classes float64[n, c]; one that is no number is the worst.

    >>> quality("binary", np.array([0, 1], np.float32), np.array([0.5, 0.5]))
    StreamQuality(value=0.5, log_loss=0.6931471805599453)
    >>> quality("number", np.array([1, 3], np.float32), np.array([2.0, 1.0])).value
    1.5
    """
    if kind == "number":
        return StreamQuality(float(np.abs(predictions - labels).mean()), math.nan)
    if kind == "class":
        places = labels.astype(np.int64)
        right = predictions[np.arange(len(places)), places]
        hits = float((predictions.argmax(axis=1) == places).mean())
        return StreamQuality(hits, _log_loss(right))
    auc = exact_auc(labels, predictions.astype(np.float32))
    return StreamQuality(auc, _log_loss(np.where(labels > 0.5, predictions, 1.0 - predictions)))


def _log_loss(right: Doubles) -> float:
    """Of the probabilities of the true labels."""
    bounded = np.maximum(np.nan_to_num(right, nan=0.0), LEAST_PROBABILITY)
    return float(-np.log(np.minimum(bounded, 1.0)).mean())


def ranks(values: Sequence[float], *, higher: bool) -> list[float]:
    """The rank of each, 1 for the best; those that are equal share the mean of theirs.

    One that is not a number is the last.

    >>> ranks([0.7, 0.9, 0.7], higher=True), ranks([1.0, math.nan, 3.0], higher=False)
    ([2.5, 1.0, 2.5], [1.0, 3.0, 2.0])
    """
    costs = [math.inf if math.isnan(one) else -one if higher else one for one in values]
    return [
        1.0 + sum(other < cost for other in costs) + (costs.count(cost) - 1) / 2.0 for cost in costs
    ]
