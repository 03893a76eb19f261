"""Logistic regression: a linear model of the log-odds."""

from __future__ import annotations

from dataclasses import dataclass, field

from freshrank.actors.messages import InputLayout
from freshrank.learner.models.linear import BoundLinear
from freshrank.learner.models.losses import LogLoss, Loss, prior_logit


@dataclass(frozen=True)
class LogisticRegression:
    """One weight per id and per dense input, and a bias; the prediction is a probability.

    Parameters
    ----------
    base_rate
        The share of positives that is expected: the bias starts at its logit. A wrong one is
        unlearned within some hundred examples.
    loss
        What is made small: of labels 0 and 1, with predictions that are probabilities.
    """

    base_rate: float = 0.5
    # Not in the repr, which is a part of fingerprints that are older than it.
    loss: Loss = field(default=LogLoss(), kw_only=True, repr=False)

    def __post_init__(self) -> None:
        prior_logit(self.base_rate, "LogisticRegression.base_rate")

    def bind(self, layout: InputLayout) -> BoundLinear:
        """Settle the sizes for inputs of `layout`."""
        return BoundLinear(self, layout, self.loss, prior_logit(self.base_rate, "base_rate"))
