"""A copy of the weights that a range's examples touch, on which they are learned part by part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.pooling import pool
from freshrank.learner.optimizers.base import Optimizer, SummedRows
from freshrank.learner.parameters.weights import ModelWeights

_DENSE: Ints = np.zeros(1, np.int64)


class PartGradient(NamedTuple):
    """Of consecutive examples."""

    scores: Floats
    """float32[n]: predictions before they were learned."""
    residuals: Floats
    """float32[n]: the derivatives of the loss by the outputs."""
    dense: Floats
    """float32[p]."""
    dense_squares: Floats
    """float32[p]."""
    touched: Ints
    """int64[t], distinct: the places, among all ids of the range, of those of the examples."""
    rows: SummedRows
    """Of these."""

    def damped(self, share: float) -> PartGradient:
        """That of which each example counts for a `share` of one; its squares are as they were."""
        if share == 1.0:
            return self
        part = np.float32(share)
        rows = self.rows._replace(sums=self.rows.sums * part)
        return self._replace(dense=self.dense * part, rows=rows)


@kernel
def _add_rows(total: SummedRows, touched: Ints, rows: SummedRows) -> None:
    for i in range(len(touched)):
        at = touched[i]
        total.counts[at] += rows.counts[i]
        for j in range(total.sums.shape[1]):
            total.sums[at, j] += rows.sums[i, j]
            total.squares[at, j] += rows.squares[i, j]


class RangeGradient:
    """The sum of the gradients of parts.

    Parameters
    ----------
    ids, width
        How many ids the range has, and the width of their rows.
    """

    def __init__(self, ids: int, width: int) -> None:
        sums = np.zeros((ids, width), np.float32)
        self.rows = SummedRows(sums, np.zeros_like(sums), np.zeros(ids, np.float32))
        """Of all ids of the range."""
        self._parts: list[PartGradient] = []
        self._served: list[Floats] = []

    def add(self, part: PartGradient, served: Floats | None) -> None:
        """Add that of a part; `served` are its `scores` by averages, where these serve."""
        self._parts.append(part)
        if served is not None:
            self._served.append(served)
        _add_rows(self.rows, part.touched, part.rows)

    @property
    def dense(self) -> Floats:
        """float32[p]."""
        found: Floats = np.sum([part.dense for part in self._parts], axis=0)
        return found

    @property
    def dense_squares(self) -> Floats:
        """float32[p]."""
        found: Floats = np.sum([part.dense_squares for part in self._parts], axis=0)
        return found

    @property
    def scores(self) -> Floats:
        """float32[n]."""
        return np.concatenate([part.scores for part in self._parts])

    @property
    def served(self) -> Floats | None:
        """float32[n]; None where the weights serve that are learned."""
        return np.concatenate(self._served) if self._served else None

    @property
    def residuals(self) -> Floats:
        """float32[n]."""
        return np.concatenate([part.residuals for part in self._parts])


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
        self._average, self._width = weights.average, weights.model.rows.width
        self._served_rows = self.rows[:, : self._width]
        """float32[u, w]: the rows that serve (a view), or where these are averages, copies."""
        if self._average is not None:
            self._served_rows = self._average.averages(self.rows, self._width)
        self.steps = weights.optimizer is not None
        """Whether they can be stepped."""
        self.starts = weights.starts
        """See `field_starts`."""
        self._examples = weights.examples

    @property
    def dense(self) -> Floats:
        """float32[p]."""
        return self.dense_state[0, : self._weights.model.dense_size]

    def pooled(self, index: Ints) -> Floats:
        """float32[n, F, w]: of the places int64[n, f] of ids among the keys."""
        return pool(self.rows, index, self.starts, self._width)

    def served_predictions(self, x: Floats, index: Ints) -> Floats | None:
        """float32[n]: by the weights that serve, where these are averages, of inputs float32[n, d].

        As the weights are at present, with what was learned of the range.
        """
        if self._average is None:
            return None
        model = self._weights.model
        pooled = pool(self._served_rows, index, self.starts, self._width)
        dense = self._average.averages(self.dense_state, model.dense_size)[0]
        return self._weights.target.predictions(model.outputs(dense, x, pooled))

    def optimizer_of(self, examples: int) -> Optimizer:
        """That of the next so many examples: as of the one in the middle."""
        return self._weights.optimizer_at(self._examples + examples / 2)

    def step(self, gradient: PartGradient, examples: int) -> LocalStep:
        """Learn a part; gives what undoes it."""
        optimizer, touched = self.optimizer_of(examples), gradient.touched
        before, dense = self.rows.take(touched, axis=0), self.dense_state.copy()
        optimizer.update(self.rows, touched, gradient.rows)
        count = np.full(1, examples, np.float32)
        of_dense = SummedRows(gradient.dense[np.newaxis], gradient.dense_squares[np.newaxis], count)
        optimizer.update(dense, _DENSE, of_dense, dense=True)
        return self.stepped(LocalStep(touched, before, self.dense_state, examples), dense)

    def follow(self, step: LocalStep, dense_state: Floats, counts: Floats) -> None:
        """Let averages follow rows and dense weights that were stepped by what only steps them.

        `counts` are the examples of each row.
        """
        if self._average is not None:
            average, count = self._average, np.full(1, step.examples, np.float32)
            average.follow(self.rows, step.touched, step.rows[:, : self._width], counts)
            before = step.dense_state[:, : self._weights.model.dense_size]
            average.follow(dense_state, _DENSE, before, count)

    def stepped(self, step: LocalStep, dense_state: Floats) -> LocalStep:
        """Note that the rows were stepped, and that these are the dense weights now."""
        self.dense_state = dense_state
        self._examples += step.examples
        self._serve(step.touched)
        return step

    def undo(self, step: LocalStep) -> None:
        """Undo the last step."""
        self.rows[step.touched], self.dense_state = step.rows, step.dense_state
        self._examples -= step.examples
        self._serve(step.touched)

    def _serve(self, touched: Ints) -> None:
        """Take what serves of rows that have changed."""
        if self._average is not None:
            found = self._average.averages(self.rows[touched], self._width)
            self._served_rows[touched] = found


class LocalStep(NamedTuple):
    """What a step replaced."""

    touched: Ints
    rows: Floats
    dense_state: Floats
    examples: int
    """How many it learned."""
