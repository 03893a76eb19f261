"""Losses of labels 0 and 1 that weigh the classes otherwise, and what undoes a down-sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.models.losses.links import Link, LogitLink
from freshrank.learner.models.losses.log_loss import LogLoss
from freshrank.learner.models.losses.loss import Loss
from freshrank.learner.optimizers.base import check_at_least


@dataclass(frozen=True)
class ClassWeighted(Loss):
    """A loss of which an example counts by its label: ``weight(label) * of(label, prediction)``.

    Predictions are no probabilities of the traffic any more: with the log loss the odds of a
    prediction are ``positive / negative`` times too high. They rank as before, and decide as a
    threshold does that is lower by as much (Elkan, "The foundations of cost-sensitive learning",
    IJCAI 2001).

    Parameters
    ----------
    of
        The loss that is weighted, of labels 0 and 1.
    positive, negative
        How many times an example of each label counts.

    Raises ConfigError for a weight that is not positive, and for a loss of numbers.

    >>> loss = ClassWeighted(positive=4.0)
    >>> loss.residual(np.array([1, 0], np.float32), np.array([0.25, 0.25], np.float32)).tolist()
    [-3.0, 0.25]
    """

    of: Loss = field(default=LogLoss())
    positive: float = field(default=1.0, kw_only=True)
    negative: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        for name, weight in (("positive", self.positive), ("negative", self.negative)):
            check_at_least(f"ClassWeighted.{name}", weight, 0.0, strictly=True)
        if not self.of.binary:
            raise ConfigError(
                "ClassWeighted.of",
                f"{self.of!r} is of numbers, which have no classes",
                "Give a loss of labels 0 and 1, such as LogLoss().",
            )

    @property
    def link(self) -> Link:
        """That of the loss that is weighted."""
        return self.of.link

    @property
    def name(self) -> str:
        """See `Loss`."""
        return f"weighted_{self.of.name}"

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`."""
        return self._weights(labels) * self.of.value(labels, predictions)

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """See `Loss`."""
        return self._weights(labels) * self.of.residual(labels, predictions)

    def best_constant(self, mean: float) -> float:
        """That of the loss that is weighted, at the share of positives by weight.

        >>> ClassWeighted(positive=3.0).best_constant(0.25)
        0.5
        """
        return self.of.best_constant(self.positive * mean / self._mean_weight(mean))

    def of_constant(self, mean: float, mean_square: float) -> float:
        """See `Loss`; of labels 0 and 1 both moments are the share of positives."""
        weight = self._mean_weight(mean)
        share = self.positive * mean / weight
        return weight * self.of.of_constant(share, share)

    def least_evidence(self, of_constant: float) -> float:
        """That of the loss that is weighted, times the greater weight."""
        return max(self.positive, self.negative) * self.of.least_evidence(of_constant)

    def _weights(self, labels: Floats) -> Floats:
        return np.where(labels > 0.5, np.float32(self.positive), np.float32(self.negative))

    def _mean_weight(self, mean: float) -> float:
        return self.positive * mean + self.negative * (1.0 - mean)


@dataclass(frozen=True)
class DownSampled(Loss):
    """A loss of a probability, learned from all positives and a share of the negatives.

    Among what is learned the odds of a positive are ``1 / share`` times those of the
    traffic, so the loss is that of the prediction with these odds. The prediction itself, which is
    served, stays a probability of the traffic: serving corrects nothing. It is the correction of
    the intercept of King and Zeng ("Logistic regression in rare events data", Political Analysis
    2001), made where He et al. ("Practical lessons from predicting clicks on ads at Facebook",
    ADKDD 2014) re-calibrate each prediction.

    Parameters
    ----------
    of
        The loss without sampling; its predictions are probabilities.
    share
        Of the negatives, which is learned: more than 0 and at most 1.

    Raises ConfigError for a loss whose predictions are no probabilities.

    >>> loss = DownSampled(LogLoss(), share=0.1)
    >>> loss.residual(np.array([0], np.float32), np.array([1 / 11], np.float32)).round(3).tolist()
    [0.5]
    """

    of: Loss
    share: float

    def __post_init__(self) -> None:
        if not isinstance(self.of.link, LogitLink) or not self.of.binary:
            raise ConfigError(
                "negatives_kept",
                f"the predictions of {self.of!r} are no probabilities, which alone are corrected",
                "Leave it out, or take a model of the log loss, such as LogisticRegression().",
            )

    @property
    def link(self) -> Link:
        """From the log-odds of the traffic to its probability."""
        return self.of.link

    @property
    def name(self) -> str:
        """That of the loss without sampling."""
        return self.of.name

    @property
    def negatives_kept(self) -> float:
        """See `Loss`."""
        return self.share

    def value(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`: among what is learned."""
        return self.of.value(labels, self._among_learned(predictions))

    def residual(self, labels: Floats, predictions: Floats) -> Floats:
        """See `Loss`. The odds differ by a factor, the outputs by a constant."""
        return self.of.residual(labels, self._among_learned(predictions))

    def of_traffic(self, labels: Floats, predictions: Floats) -> Doubles:
        """See `Loss`: that without sampling, of which a negative stands for ``1 / share``."""
        found = self.of.of_traffic(labels, predictions)
        return np.where(labels > 0.5, found, found / self.share)

    def best_constant(self, mean: float) -> float:
        """The probability of the traffic, where the share of positives learned is `mean`.

        >>> round(DownSampled(LogLoss(), 0.1).best_constant(0.5), 3)
        0.091
        """
        best = self.of.best_constant(mean)
        return self.share * best / (self.share * best + (1.0 - best))

    def of_constant(self, mean: float, mean_square: float) -> float:
        """See `Loss`."""
        return self.of.of_constant(mean, mean_square)

    def least_evidence(self, of_constant: float) -> float:
        """See `Loss`."""
        return self.of.least_evidence(of_constant)

    def _among_learned(self, predictions: Floats) -> Floats:
        # Of both odds: p / (p + kept (1 - p)), in float32.
        negative = np.subtract(1.0, predictions, dtype=np.float32)
        learned = predictions + np.multiply(self.share, negative, dtype=np.float32)
        return np.divide(predictions, learned, dtype=np.float32)
