"""Examples of a range learned in their order, on a copy of the weights that they touch.

What is learned from examples must not depend on how many come at once. A gradient whose examples
were all differentiated at the same weights says the same thing as many times as there are examples:
a user's fifty ratings in a row, or the base rate that a young model does not know yet. Steps of one
example each correct what those before have left. So the examples are learned here as they come, by
the learner's own optimiser, on copies of the rows; the gradient that is sent is the sum over
examples of which each knows what the earlier ones have taught (importance weight aware, as in
Karampatziakis and Langford, UAI 2011, by their order instead of in closed form).

Where examples tell each other little, which is the rule for a model that has learned for a while,
they are taken at once: how long a part may be is measured, not set.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.pooling import pool
from freshrank.learner.optimizers.base import SummedRows
from freshrank.learner.parameters.weights import ModelWeights

# A part that takes back more than this share of the decrease that it promises is learned in
# shorter ones: of the steps of a model that has learned for a while few have to be.
_MOST = 0.15
# Down to so few examples, which are halved only where they go beyond the minimum; more where the
# dense weights are so many that their own work, which is done once a part, outweighs that.
_FEWEST, _FEWEST_OF_MANY, _WEIGHTS_OF_ONE = 4, 32, 512
# An error of this share of the residuals is no reason to halve a part that promises nothing.
_NOISE = 1.0 / 16.0
# The share of the way to the minimum that a single example takes at most.
ENOUGH = 0.8
_DENSE: Ints = np.zeros(1, np.int64)


class PartGradient(NamedTuple):
    """Of consecutive examples, with the rows of all ids of the range."""

    dense: Floats
    """float32[p]."""
    dense_squares: Floats
    """float32[p]."""
    rows: Floats
    """float32[u, w]."""
    row_squares: Floats
    """float32[u, w]."""
    row_counts: Floats
    """float32[u]."""

    def damped(self, share: float) -> PartGradient:
        """That of which each example counts for a `share` of one; its squares are as they were."""
        part = np.float32(share)
        return self._replace(dense=self.dense * part, rows=self.rows * part)


class LocalWeights:
    """A copy of the dense weights and of the rows of some ids, with the optimiser's state.

    Parameters
    ----------
    weights
        With the state of their optimiser, if they have one; else they are not stepped.
    keys
        int64[u], distinct.
    """

    def __init__(self, weights: ModelWeights, keys: Ints) -> None:
        self._weights = weights
        self.rows = weights.table.read_whole(keys)
        self.dense_state = weights.dense_state
        self._examples = weights.examples

    @property
    def dense(self) -> Floats:
        """float32[p]."""
        return self.dense_state[0, : self._weights.model.dense_size]

    def pooled(self, index: Ints) -> Floats:
        """float32[n, F, w]: of the places int64[n, f] of ids among the keys."""
        return pool(self.rows, index, self._weights.starts, self._weights.table.init.width)

    def step(self, gradient: PartGradient, examples: int) -> LocalStep:
        """Learn a part; gives what undoes it."""
        optimizer = self._weights.optimizer_at(self._examples + examples / 2)
        of_rows = SummedRows(gradient.rows, gradient.row_squares, gradient.row_counts)
        touched = np.flatnonzero(of_rows.counts)
        before = LocalStep(touched, self.rows[touched], self.dense_state, self._examples)
        if len(touched) < len(self.rows):
            of_rows = SummedRows(*(part[touched] for part in of_rows))
        optimizer.update(self.rows, touched, of_rows)
        self.dense_state = self.dense_state.copy()
        count = np.full(1, examples, np.float32)
        of_dense = SummedRows(gradient.dense[np.newaxis], gradient.dense_squares[np.newaxis], count)
        optimizer.update(self.dense_state, _DENSE, of_dense, dense=True)
        self._examples += examples
        return before

    def undo(self, step: LocalStep) -> None:
        """Undo the last step."""
        self.rows[step.touched] = step.rows
        self.dense_state, self._examples = step.dense_state, step.examples


class LocalStep(NamedTuple):
    """What a step replaced."""

    touched: Ints
    rows: Floats
    dense_state: Floats
    examples: int


class PartLengths:
    """How many examples are learned at once: all, or as few as their overshoot asks for.

    A model that knows nothing begins with one example.

    Parameters
    ----------
    examples, dense_size
        All examples, and the dense weights of the model.
    young
        Whether it has learned nothing.

    >>> lengths = PartLengths(64, dense_size=5, young=False)
    >>> lengths.accepts(64, overshoot=0.5), lengths.next
    (False, 4)
    >>> lengths.accepts(4, overshoot=0.05), lengths.next
    (True, 8)
    """

    def __init__(self, examples: int, dense_size: int, *, young: bool) -> None:
        self._all = examples
        self._fewest = min(max(dense_size // _WEIGHTS_OF_ONE, _FEWEST), _FEWEST_OF_MANY)
        self.next = 1 if young else examples

    def accepts(self, length: int, overshoot: float) -> bool:
        """Whether a part stands as it is; settles the length of the next one, or of the same."""
        if length > 1 and overshoot > (_MOST if length > self._fewest else 1.0):
            half = length // 2
            self.next = min(self._fewest, half) if length == self._all else half
            return False
        if overshoot <= _MOST / 2.0:
            self.next = 2 * max(self.next, length)
        elif overshoot <= _MOST:
            self.next = max(self.next, self._fewest)
        return True


def overshoot(moved: Floats, before: Floats, after: Floats) -> float:
    """The share of the decrease that a part promises which it takes back by going far.

    `moved` are the changes of its outputs, `before` and `after` the residuals of its examples.
    1: it ends at the minimum of the loss along its way (`StepBound`).

    >>> overshoot(np.array([-0.5]), np.array([0.5]), np.array([0.25])).__round__(2)
    0.5
    """
    wide = moved.astype(np.float64)
    promised = -float(np.vdot(wide, before))
    noise = _NOISE * float(np.vdot(before.astype(np.float64), before))
    return float(np.vdot(wide, after - before)) / max(promised, noise, 1e-12)
