"""Losses and links: from a model's output to its prediction, and how wrong that prediction is.

A model gives one raw *output* ``f`` for each row, or one for each of ``c`` classes. Its loss names
the *link* that turns the output into the *prediction* that is served, the loss of a prediction, and
the derivative of that loss with respect to the output (the *residual*), from which every gradient
follows by the chain rule. Labels and predictions are all that reaches the learner, so both are
functions of the prediction. Of a loss of classes outputs, predictions and residuals are [n, c]
wherever they are [n] here, and a label is the place of its class.

All are imported from here; the modules of the package are its own affair.
"""

from freshrank.learner.models.losses.huber_loss import HuberLoss
from freshrank.learner.models.losses.links import (
    LEAST_PROBABILITY,
    IdentityLink,
    Link,
    LogitLink,
    prior_logit,
)
from freshrank.learner.models.losses.log_loss import LogLoss
from freshrank.learner.models.losses.loss import Loss, learns_scale
from freshrank.learner.models.losses.of_examples import losses_of, residuals_of, sums_of
from freshrank.learner.models.losses.plackett_luce_loss import (
    PlackettLuceLoss,
    choice_probabilities,
    slate_offsets,
    within_slates,
)
from freshrank.learner.models.losses.quantile_loss import QuantileLoss
from freshrank.learner.models.losses.reweighted import ClassWeighted, DownSampled

__all__ = [
    "LEAST_PROBABILITY",
    "ClassWeighted",
    "DownSampled",
    "HuberLoss",
    "IdentityLink",
    "Link",
    "LogLoss",
    "LogitLink",
    "Loss",
    "PlackettLuceLoss",
    "QuantileLoss",
    "choice_probabilities",
    "learns_scale",
    "losses_of",
    "prior_logit",
    "residuals_of",
    "slate_offsets",
    "sums_of",
    "within_slates",
]
