"""The loss of a choice among the items of a slate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats
from freshrank.learner.models.losses.links import IdentityLink, LogitLink
from freshrank.learner.models.losses.log_loss import LogLoss
from freshrank.learner.models.losses.loss import Loss


@kernel
def slate_offsets(labels: Floats, outputs: Floats) -> Floats:
    """float32[n]: what turns each output into the log-odds that its item is the one chosen.

    That is ``-log(sum(exp(outputs)))`` over the others of its slate. A slate begins with its
    chosen item, whose label is 1, and goes on with those that were not chosen.
    """
    found, begin = np.empty(len(outputs), np.float32), 0
    while begin < len(outputs):
        end, top = begin + 1, np.float64(outputs[begin])
        while end < len(outputs) and labels[end] <= 0.5:
            top = max(top, np.float64(outputs[end]))
            end += 1
        # Sums from both ends: less its own, the sum of all would lose what others add to a great
        # output.
        after = np.zeros(end - begin + 1)
        for i in range(end - begin - 1, -1, -1):
            after[i] = after[i + 1] + np.exp(outputs[begin + i] - top)
        before = 0.0
        for i in range(end - begin):
            others = before + after[i + 1]
            # 0 of an item alone: it is chosen for certain.
            found[begin + i] = -top - np.log(others if others != 0.0 else 1e-300)
            before += np.exp(outputs[begin + i] - top)
        begin = end
    return found


@dataclass(frozen=True)
class PlackettLuceLoss(LogLoss):
    """The log loss of which item of a slate is chosen: how to order a list, and nothing else.

    A slate's items are chosen with the probabilities ``softmax(outputs)``, each further one among
    those that are left (Plackett, "The analysis of permutations", Applied Statistics 1975; Luce,
    "Individual choice behavior", 1959). The residuals are those of the softmax cross-entropy of the
    slate, ListNet's (Cao et al., "Learning to rank: from pairwise approach to listwise approach",
    ICML 2007). What all items of a slate share, such as how much its user clicks, does not matter.

    A prediction that is served knows no slate: it is the output, the item's utility. Outputs are
    free to move together, so a probability made of one of them could be 1 for a whole list. Labels
    are those of `slate_offsets`; value and residual are of probabilities of being the one chosen.

    >>> loss, labels = PlackettLuceLoss(), np.array([1, 0, 0], np.float32)
    >>> outputs = np.log(np.array([1, 2, 1], np.float32))
    >>> found = choice_probabilities(outputs, slate_offsets(labels, outputs))
    >>> found.tolist(), loss.residual(labels, found).tolist()
    ([0.25, 0.5, 0.25], [-0.75, 0.5, 0.25])
    """

    @property
    def link(self) -> IdentityLink:
        """The prediction that is served is the utility."""
        return IdentityLink()

    @property
    def listwise(self) -> bool:
        """See `Loss`."""
        return True


def choice_probabilities(outputs: Floats, offsets: Floats) -> Floats:
    """float32[n]: of being the item of its slate that is chosen, with the `slate_offsets`."""
    return LogitLink().prediction(outputs + offsets)


def within_slates(loss: Loss, labels: Floats, predictions: Floats) -> Floats:
    """float32[n]: `predictions` that were served, as those of `loss`; NaN stays NaN.

    >>> labels, served = np.array([1, 0], np.float32), np.log(np.array([9, 1], np.float32))
    >>> within_slates(PlackettLuceLoss(), labels, served).round(2)
    array([0.9, 0.1], dtype=float32)
    """
    if not loss.listwise:
        return predictions
    return choice_probabilities(predictions, slate_offsets(labels, predictions))
