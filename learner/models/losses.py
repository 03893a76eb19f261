"""Losses and links: from a model's output to its prediction, and how wrong that prediction is.

A model gives one raw *output* ``f`` for each row, or one for each of ``c`` classes. Its loss names
the *link* that turns the output into the *prediction* that is served, the loss of a prediction, and
the derivative of that loss with respect to the output (the *residual*), from which every gradient
follows by the chain rule. Labels and predictions are all that reaches the learner, so both are
functions of the prediction. Of a loss of classes outputs, predictions and residuals are [n, c]
wherever they are [n] here, and a label is the place of its class.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Bools, Doubles, Floats

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


class Loss(Protocol):
    """How wrong predictions are. Derive from it to declare another one.

    `link`, `value` and `residual` have to be defined; the rest has defaults. A subclass must be
    equal to its copies in other processes and have the same ``repr`` there: make it a frozen
    dataclass.
    """

    @property
    def link(self) -> Link:
        """From the output to the prediction."""
        ...

    @property
    def binary(self) -> bool:
        """Whether labels are 0 or 1; only then is the AUC of the predictions defined."""
        return True

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes whose places labels are; none where labels are no classes."""
        return ()

    def with_classes(self, names: tuple[str, ...]) -> Loss | None:
        """The same loss of the classes that a label has; None where labels are no classes."""
        return None

    @property
    def name(self) -> str:
        """The name of its mean in metrics: by default the class's name in lower case with ``_``."""
        return re.sub(r"(?<=.)(?=[A-Z])", "_", type(self).__name__).lower()

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """float64[n]: the loss of each prediction float32[n]; 0 or more."""
        ...

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """float32[n]: the derivative of `value` with respect to the output."""
        ...

    @property
    def negatives_kept(self) -> float:
        """The share of the examples with label 0 that is learned from: 1, unless one samples."""
        return 1.0

    def of_traffic(self, labels: Floats, predictions: Floats) -> Doubles:
        """float64[n]: the loss of all the traffic that each example stands for."""
        return self.value(labels, predictions)

    def best_constant(self, mean: float) -> float:
        """The constant prediction to compare with, given the mean of the labels learned from."""
        return mean

    def of_constant(self, mean: float, mean_square: float) -> float:
        """The mean loss of the best constant prediction, given moments of the labels.

        Where these do not settle it, the greatest. The guard allows a loss to grow in proportion to
        it. The default allows nothing.
        """
        return 1.0

    def label_moments(self, labels: Floats) -> Doubles:
        """float64[n, m]: what is known of labels once it is averaged: the label and its square."""
        exact = labels.astype(np.float64)
        return np.stack([exact, exact * exact], axis=1)

    def constant_of(self, moments: Doubles) -> Floats:
        """float32[1], of classes [c]: the best constant, from the mean of `label_moments`, [m]."""
        return np.array([self.best_constant(float(moments[0]))], np.float32)

    def of_moments(self, moments: Doubles) -> float:
        """`of_constant`, from the mean of `label_moments`, float64[m]."""
        mean, mean_square = moments.tolist()
        return self.of_constant(mean, mean_square)

    def spread(self, variance: float) -> float:
        """The unit of outputs where `learns_scale`: the deviation of labels with this variance."""
        return math.sqrt(max(0.0, variance))

    def least_evidence(self, of_constant: float) -> float:
        """A summed excess of loss below which the guard never calls it worse.

        So that a few examples that are predicted confidently and wrongly are no reason to roll
        back. `of_constant` is what the method of that name gives for recent labels.
        """
        return 0.0


def residuals_of(
    loss: Loss,
    labels: Floats,
    corrects: Bools | None,
    predictions: Floats,
    weights: Floats | None = None,
) -> Floats:
    """float32[n]: the derivatives, with respect to the outputs, of what examples add to the loss.

    Each counts `weights` times, float32[n]; None: once.

    An example that `corrects` one of before, bool[n], adds the loss of its label less the loss of
    the label 0, which was learned then: so both together add what the true label does.

    >>> labels, predictions = np.array([1, 1], np.float32), np.array([0.25, 0.25], np.float32)
    >>> residuals_of(LogLoss(), labels, np.array([False, True]), predictions).tolist()
    [-0.75, -1.0]
    """
    found = loss.residual(labels, predictions)
    if weights is not None:
        found = (found.T * weights).T  # of classes [n, c]
    if corrects is None:
        return found
    before = loss.residual(np.zeros_like(labels), predictions)
    return found - np.where(corrects, before, np.float32(0.0))


def sums_of(residuals: Floats) -> tuple[float, float]:
    """The sums of the sizes and of the squares of float32[n] or [n, c]."""
    return _sums(residuals.ravel())


@kernel
def _sums(residuals: Floats) -> tuple[float, float]:
    sizes, squares = 0.0, 0.0
    for residual in residuals:
        size = abs(np.float64(residual))
        sizes += size
        squares += size * size
    return sizes, squares


def losses_of(
    loss: Loss,
    labels: Floats,
    corrects: Bools | None,
    predictions: Floats,
    weights: Floats | None = None,
) -> tuple[Doubles, Doubles]:
    """float64[n] each: the loss of each label, and what it takes back of a loss of before.

    The first counts `weights` times, float32[n]; None: once.

    >>> labels, predictions = np.array([1, 1], np.float32), np.array([0.25, 0.25], np.float32)
    >>> found = losses_of(LogLoss(), labels, np.array([False, True]), predictions)
    >>> [part.round(3).tolist() for part in found]
    [[1.386, 1.386], [0.0, 0.288]]
    """
    values = loss.value(labels, predictions)
    if weights is not None:
        values = values * weights
    if corrects is None:
        return values, np.zeros(len(values))
    before = loss.value(np.zeros_like(labels), predictions)
    return values, np.where(corrects, before, 0.0)


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


def learns_scale(loss: Loss) -> bool:
    """Whether labels are numbers of any unit and predictions are the outputs themselves.

    Then outputs are taken in standard deviations of the labels from their mean, as both are learned
    (`freshrank.learner.parameters.target_scale`).
    """
    return isinstance(loss.link, IdentityLink) and not loss.binary


@kernel
def _log_losses(labels: Floats, probabilities: Floats) -> Doubles:
    out = np.empty(len(labels))
    for i in range(len(labels)):
        p = np.float64(probabilities[i])
        out[i] = -np.log(max(p if labels[i] > 0.5 else 1.0 - p, LEAST_PROBABILITY))
    return out


@dataclass(frozen=True)
class LogLoss(Loss):
    """``-log p(label)`` in nats, of the probability that a logistic output gives.

    >>> LogLoss().value(np.array([1, 0], np.float32), np.array([0.5, 0.5], np.float32)).round(4)
    array([0.6931, 0.6931])
    """

    @property
    def link(self) -> LogitLink:
        """Log-odds to probability."""
        return LogitLink()

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`. At most 16 nats."""
        return _log_losses(labels, predictions)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """``p - label``."""
        return predictions - labels

    def of_constant(self, mean: float, mean_square: float) -> float:
        """The entropy of the label in nats (He et al., "Practical lessons ...", ADKDD 2014).

        >>> round(LogLoss().of_constant(0.5, 0.5), 4)
        0.6931
        """
        rate = min(max(mean, LEAST_PROBABILITY), 1.0 - LEAST_PROBABILITY)
        return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)

    def least_evidence(self, of_constant: float) -> float:
        """60 nats: a model that is nearly always certain may make three or four sure mistakes."""
        return 60.0


def prior_logit(base_rate: float, place: str) -> float:
    """The logit that gives `base_rate`; raises ConfigError unless it lies between 0 and 1."""
    if not 0.0 < base_rate < 1.0:
        fix = "Give the share of positives, between 0 and 1."
        raise ConfigError(place, f"{base_rate!r} is not a rate", fix)
    return math.log(base_rate / (1.0 - base_rate))
