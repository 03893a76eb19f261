"""Where the state of dense weights lies: what is kept of it where weights come, go and move."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.learner.optimizers.averaged import Averaged, stepping
from freshrank.learner.optimizers.base import Optimizer, dense_state_width
from freshrank.learner.optimizers.scheduled import ScheduledOptimizer


def has_state_by_weight(optimizer: Optimizer) -> bool:
    """Whether `columns_before` knows the state of an optimiser.

    Not that of a pipeline's own, unless it is derived from `ScheduledOptimizer`.
    """
    return isinstance(stepping(optimizer), ScheduledOptimizer)


def columns_before(optimizer: Optimizer, before: int, places: Ints) -> Ints:
    """int64[p + q]: the column that each one of the row of dense weights and their state had.

    `places` int64[p] are those that the weights had among as many as `before`; -1 for a new one,
    and for all columns that are about it alone. Of an optimiser that `has_state_by_weight`.

    >>> from freshrank.learner.optimizers.adam import Adam
    >>> columns_before(Adam(), 3, np.array([0, -1, 2])).tolist()  # two moments, and the examples
    [0, -1, 2, 3, -1, 5, 6, -1, 8, 9]
    """
    if isinstance(optimizer, Averaged):
        of_weights = columns_before(optimizer.of, before, places)
        begin = before + dense_state_width(optimizer.of, before)
        return np.concatenate([of_weights, _block(begin, places), [begin + before]])
    width = before + dense_state_width(optimizer, before)
    blocks = 1 + dense_state_width(optimizer, before + 1) - dense_state_width(optimizer, before)
    found = [_block(block * before, places) for block in range(blocks)]
    return np.concatenate([*found, np.arange(blocks * before, width)])


def _block(begin: int, places: Ints) -> Ints:
    """The columns of a block with one for each weight."""
    found: Ints = np.where(places < 0, -1, begin + places)
    return found
