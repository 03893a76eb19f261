"""The learner's own weights: stepped in place, and taken back to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Bools, Floats, Ints, Version
from freshrank.learner.embeddings.table import KeyedTable
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.base import Optimizer
from freshrank.learner.parameters.gradient_sum import SummedGradient
from freshrank.learner.parameters.weights import ModelWeights

# A sixteenth of the rows goes at once when the table is full, so that looking for the oldest
# ones, which reads all, is paid once in many steps.
EVICTED_SHARE = 16
_DENSE: Ints = np.zeros(1, np.int64)


class Rows(NamedTuple):
    """Whole rows of the table."""

    keys: Ints
    """int64[u]."""
    rows: Floats
    """float32[u, w + s]: weights and optimiser state."""
    stamps: Ints
    """int64[u]: the step that changed each last."""


@dataclass(slots=True)
class Change:
    """What one step replaced."""

    dense: Floats
    """float32[1, p + s]: dense weights and their optimiser state."""
    before: Rows
    """Of all ids that it changed; those that were not there yet with their initial values."""
    added: Bools
    """bool[u]: which of them were not there yet."""
    evicted: Rows
    """What was dropped after it, to make room."""

    @property
    def keys(self) -> Ints:
        """All ids concerned, some of them twice."""
        return np.concatenate([self.before.keys, self.evicted.keys])


class Changed(NamedTuple):
    """The table's part of a delta."""

    keys: Ints
    """int64[u], ascending."""
    rows: Floats
    """float32[u, w]."""
    evicted: Ints

    def without_evicted(self) -> Changed:
        """Without the rows that were changed and dropped in the same step."""
        kept = ~np.isin(self.keys, self.evicted)
        return Changed(self.keys[kept], self.rows[kept], self.evicted)


class TrainingState:
    """Weights with their optimiser state.

    Parameters
    ----------
    max_rows
        Beyond it the rows that were updated least recently are dropped.
    """

    def __init__(self, model: Model, optimizer: Optimizer, max_rows: int) -> None:
        self._optimizer = optimizer
        self._max_rows = max_rows
        of_row, of_dense = (
            optimizer.state_width(width) for width in (model.rows.width, model.dense_size)
        )
        self.weights = ModelWeights(model, KeyedTable(model.rows, of_row))
        self.weights.version = Version(1, 0)
        self.dense_state: Floats = np.zeros((1, model.dense_size + of_dense), np.float32)
        self.dense_state[0, : model.dense_size] = self.weights.dense
        self.weights.dense = self.dense_state[0, : model.dense_size]
        self.total_steps = 0
        """Over all epochs, those that were taken back included: tells the age of a row."""

    def update(self, summed: SummedGradient) -> tuple[Change, Floats]:
        """Step; gives what takes it back, and the changed rows, float32[u, w]."""
        table, known = self.weights.table, len(self.weights.table)
        self.total_steps += 1
        positions = table.reach(summed.keys)
        change = Change(
            dense=self.dense_state.copy(),
            before=_rows_at(table, summed.keys, positions),
            added=positions >= known,
            evicted=_rows_at(table, _NONE, _NONE),
        )
        table.stamps[positions] = self.total_steps
        with table.changing(positions):
            self._optimizer.update(table.rows, positions, summed.rows)
        self._optimizer.update(self.dense_state, _DENSE, summed.dense[np.newaxis], regularize=False)
        rows = table.rows.take(positions, axis=0)[:, : table.init.width]
        return change, np.ascontiguousarray(rows)

    def evict(self, change: Change) -> Ints:
        """Drop rows when there are too many, as a part of `change`; gives their ids."""
        table, bound = self.weights.table, self._max_rows
        if len(table) > bound:
            keys = table.oldest(len(table) - bound + bound // EVICTED_SHARE)
            change.evicted = _rows_at(table, keys, table.find(keys))
            table.remove(keys)
        return change.evicted.keys

    def take_back(self, change: Change) -> None:
        """Undo the newest step that was not taken back yet."""
        table, kept, (keys, rows, stamps) = self.weights.table, ~change.added, change.before
        table.put(*change.evicted)
        table.put(keys[kept], rows[kept], stamps[kept])
        table.remove(keys[change.added])
        self.dense_state[:] = change.dense

    def present(self, keys: Ints) -> Changed:
        """What there is now under `keys`, and which of them there is not."""
        keys = np.unique(keys)
        there = self.weights.table.find(keys) >= 0
        return Changed(keys[there], self.weights.table.read(keys[there]), keys[~there])


_NONE: Ints = np.empty(0, np.int64)


def _rows_at(table: KeyedTable, keys: Ints, positions: Ints) -> Rows:
    return Rows(keys, table.rows.take(positions, axis=0), table.stamps[positions])
