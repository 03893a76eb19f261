"""The protocol of losses."""

from __future__ import annotations

import math
import re
from typing import Protocol

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses.links import IdentityLink, Link


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
    def listwise(self) -> bool:
        """Whether examples are slates: the chosen item, then those shown with it (`Joined`)."""
        return False

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


def learns_scale(loss: Loss) -> bool:
    """Whether labels are numbers of any unit and predictions are the outputs themselves.

    Then outputs are taken in standard deviations of the labels from their mean, as both are learned
    (`freshrank.learner.parameters.target_scale`).
    """
    return isinstance(loss.link, IdentityLink) and not loss.binary
