"""Quality of the order of lists: at which rank the item is that was chosen."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Doubles, Floats
from freshrank.learner.evaluation.metrics import Quality, ScoreHistogram, auc_of_counts
from freshrank.learner.models.losses import LEAST_PROBABILITY, LogitLink, Loss

_SUMS = 5


def slate_sums(labels: Floats, predictions: Floats) -> Doubles:
    """float64[5] over slates: their number, losses and reciprocal ranks, and both in random order.

    A slate begins with its chosen item, whose label is 1. Its loss is ``-log`` of the probability
    of the choice. An item with the same prediction as the chosen one is ahead of it by half. Rows
    before the first chosen one are left out.

    >>> labels = np.array([1, 0, 0, 1, 0], np.float32)
    >>> predictions = np.array([0.25, 0.5, 0.25, 0.75, 0.25], np.float32)
    >>> slate_sums(labels, predictions).round(3).tolist()  # ranks 2.5 and 1
    [2.0, 1.674, 1.4, 1.792, 1.361]
    """
    starts = np.flatnonzero(labels > 0.5)
    if not len(starts):
        return np.zeros(_SUMS)
    sizes = np.diff(starts, append=len(labels))
    chosen = predictions[starts].astype(np.float64)
    rest = predictions[starts[0] :].astype(np.float64)
    against = np.repeat(chosen, sizes)
    ahead = np.add.reduceat((rest > against) + 0.5 * (rest == against), starts - starts[0])
    losses = -np.log(np.maximum(chosen, LEAST_PROBABILITY))
    ranks = ahead + 0.5  # it is as likely as itself: a half of what is ahead
    random_ranks = np.cumsum(1.0 / np.arange(1, sizes.max() + 1))[sizes - 1] / sizes
    sums = losses, 1.0 / ranks, np.log(sizes), random_ranks
    return np.array([len(starts), *(one.sum() for one in sums)])


class SlateTally(ScoreHistogram):
    """Slates and the predictions of their items, any number of them.

    >>> from freshrank.learner.models.losses import PlackettLuceLoss
    >>> tally = SlateTally(PlackettLuceLoss())
    >>> tally.add(np.array([1, 0, 0], np.float32), np.array([0.25, 0.5, 0.25], np.float32))
    >>> tally.quality().mean_reciprocal_rank, round(tally.of_random_order().loss, 3)
    (0.4, 1.099)
    """

    def __init__(self, loss: Loss) -> None:
        super().__init__(loss)
        self._link = LogitLink()  # what is counted are probabilities of choice
        self.errors: Doubles = np.zeros(_SUMS)
        """See `slate_sums`."""

    def add(self, labels: Floats, predictions: Floats, counts: Floats | None = None) -> None:
        """Count whole slates, whose items count once each."""
        super().add(labels, predictions, counts)
        self.errors += slate_sums(labels, predictions)

    def quality(self) -> Quality:
        """Over all slates; the loss is that of a slate, and the AUC that of single items."""
        slates, loss, reciprocal_ranks = self.errors[:3].tolist()
        if not slates:
            return Quality()
        auc = auc_of_counts(self.counts[1], self.counts[0])
        return Quality(auc, loss / slates, mean_reciprocal_rank=reciprocal_ranks / slates)

    def of_random_order(self) -> Quality:
        """That of random orders of the same slates."""
        slates, _, _, loss, reciprocal_ranks = self.errors.tolist()
        if not slates:
            return Quality()
        return Quality(0.5, loss / slates, mean_reciprocal_rank=reciprocal_ranks / slates)
