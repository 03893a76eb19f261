"""The learner's own weights and optimiser state: stepped in place, undone to the last bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from freshrank.actors.messages import Bools, Delta, Doubles, Floats, Ints, Version
from freshrank.learner.embeddings.table import KeyedTable
from freshrank.learner.models.base import Model
from freshrank.learner.optimizers.averaged import stepping
from freshrank.learner.optimizers.base import Optimizer, SummedRows
from freshrank.learner.parameters.gradient_sum import SummedGradient
from freshrank.learner.parameters.input_moments import COUNT, merge
from freshrank.learner.parameters.served_weights import served_checksum, with_averages
from freshrank.learner.parameters.step_bound import (
    NEGLIGIBLE,
    StepBound,
    decrease,
    sequential_share,
    share_apart,
)
from freshrank.learner.parameters.target_scale import initial_moments
from freshrank.learner.parameters.weights import ModelWeights

# A sixteenth of the rows is evicted at once when the table is full: finding the oldest rows reads
# all of them, and is paid once in many steps.
EVICTED_SHARE = 16
# Each is shorter by a fifth at least, and by nine tenths at most.
_MOST_TRIES = 12
_DENSE: Ints = np.zeros(1, np.int64)


class Rows(NamedTuple):
    """Whole rows of the table."""

    keys: Ints
    """int64[u]."""
    rows: Floats
    """float32[u, w + s]: weights and optimiser state."""
    stamps: Ints
    """int64[u]: the number of the step that changed each row last."""


@dataclass(slots=True)
class Change:
    """What one step replaced: all that is needed to undo it."""

    dense: Floats
    """float32[1, p + s]: dense weights and their optimiser state."""
    moments: Doubles
    """See `ModelWeights.moments`."""
    before: Rows
    """The rows it changed, as they were; ids that were not in the table with initial values."""
    added: Bools
    """bool[u]: which of those ids were not in the table."""
    evicted: Rows
    """The rows that were dropped after the step to make room."""
    examples: int
    """What it learned from."""

    @property
    def keys(self) -> Ints:
        """All ids that the step changed or evicted; some occur twice."""
        return np.concatenate([self.before.keys, self.evicted.keys])


class ChangedRows(NamedTuple):
    """The table's part of a delta."""

    keys: Ints
    """int64[u], ascending."""
    rows: Floats
    """float32[u, w]."""
    state: Floats
    """float32[u, s]: the optimiser's."""
    evicted: Ints
    """int64[e]: ids that are no longer in the table."""

    def without(self, gone: Ints) -> ChangedRows:
        """The same, where the rows of `gone` and of `evicted` have left the table since."""
        evicted = np.union1d(self.evicted, gone) if len(gone) else self.evicted
        if not len(evicted):
            return self
        kept = ~np.isin(self.keys, evicted)
        return ChangedRows(self.keys[kept], self.rows[kept], self.state[kept], evicted)


class TrainingState:
    """Weights with their optimiser state.

    Parameters
    ----------
    model, optimizer
        Sizes and initial values of the weights, and the width of their state.
    max_rows
        Rows of the table; beyond it those updated least recently are evicted.
    publishes_state
        Whether all deltas have the optimiser's state: replicas tell by it how uncertain weights
        are, where lists explore by that.
    """

    def __init__(
        self, model: Model, optimizer: Optimizer, max_rows: int, *, publishes_state: bool = False
    ) -> None:
        self.weights = with_averages(ModelWeights(model, optimizer))
        self.weights.version = Version(1, 0)
        self._optimizer = optimizer
        """As of the present step, where its rate follows a schedule."""
        self._max_rows = max_rows
        self._publishes_state = publishes_state
        self.total_steps = 0
        """Of all epochs, undone steps included; rows are stamped with it."""

    @property
    def dense_state(self) -> Floats:
        """float32[1, p + q]: the dense weights, and the optimiser's state of them."""
        return self.weights.dense_state

    @property
    def examples(self) -> int:
        """That the present weights have learned."""
        return self.weights.examples

    @property
    def adapts_rates(self) -> bool:
        """Whether the optimiser has state, by which its rates follow what it is given."""
        return stepping(self._optimizer).state_width(1) > 0

    def update(self, summed: SummedGradient, stale: bool = False) -> tuple[Change, ChangedRows]:
        """Take a step; gives what undoes it, and the changed rows.

        `stale`: see `StepBound`.
        """
        table, known = self.weights.table, len(self.weights.table)
        self.total_steps += 1
        positions = table.get_or_insert(summed.keys)
        change = Change(
            dense=self.dense_state.copy(),
            moments=self.weights.moments,
            before=_rows_at(table, summed.keys, positions),
            added=positions >= known,
            evicted=_rows_at(table, _NONE, _NONE),
            examples=summed.examples,
        )
        # The rate of the example in the middle, for all of them.
        self._optimizer = self.weights.optimizer_at(self.examples + summed.examples / 2)
        self.weights.examples += summed.examples
        table.stamps[positions] = self.total_steps
        self.weights.moments = merge(self.weights.moments, summed.moments)
        with table.changing(positions):
            self._take(summed, positions, change, stale)
        return change, _changed(summed.keys, table.rows.take(positions, axis=0), table.init.width)

    def _take(self, summed: SummedGradient, positions: Ints, change: Change, stale: bool) -> None:
        """Change the weights by the step, or by as much of it as `StepBound` allows."""
        known = summed.apart == 1 and not stale
        if summed.probes is None or known:
            self._propose(summed, positions)
            return
        bound = StepBound(self.weights, summed.probes, stale)
        self._propose(summed, positions)
        if summed.apart and not stale:
            share = share_apart(bound.overshoot(), summed.apart)
            if share < 1.0:
                self._propose(summed, positions, share, instead_of=change)
            return
        share, overshoot = 1.0, bound.overshoot(self._decrease(summed, positions, change))
        for _ in range(_MOST_TRIES):
            if overshoot <= 1.0:
                break
            share *= max(0.8 / overshoot, 0.1)
            self._propose(summed, positions, share, instead_of=change)
            overshoot = bound.overshoot(self._decrease(summed, positions, change))
        if overshoot > NEGLIGIBLE:
            share *= sequential_share(min(overshoot, 1.0))
            self._propose(summed, positions, share, instead_of=change)

    def _propose(
        self,
        summed: SummedGradient,
        positions: Ints,
        share: float = 1.0,
        instead_of: Change | None = None,
    ) -> None:
        """Step by a share of the gradient; its squares are learned from as a whole."""
        table = self.weights.table
        rows, dense = summed.rows, summed.dense[np.newaxis]
        if instead_of is not None:
            table.rows[positions], self.dense_state[:] = instead_of.before.rows, instead_of.dense
            rows, dense = rows * np.float32(share), dense * np.float32(share)
        of_rows = SummedRows(rows, summed.row_squares, summed.row_counts)
        self._optimizer.update(table.rows, positions, of_rows)
        examples = np.full(1, summed.examples, np.float32)
        of_dense = SummedRows(dense, summed.dense_squares[np.newaxis], examples)
        self._optimizer.update(self.dense_state, _DENSE, of_dense, dense=True)

    def _decrease(self, summed: SummedGradient, positions: Ints, change: Change) -> float:
        rows = decrease(summed.rows, change.before.rows, self.weights.table.rows, positions)
        dense = summed.dense[np.newaxis]
        return rows + decrease(dense, change.dense, self.dense_state, _DENSE)

    def evict(self, change: Change) -> Ints:
        """Evict rows when there are too many, as a part of `change`; gives their ids."""
        table, bound = self.weights.table, self._max_rows
        if len(table) > bound:
            keys = table.oldest(len(table) - bound + bound // EVICTED_SHARE)
            change.evicted = _rows_at(table, keys, table.find(keys))
            table.remove(keys)
        return change.evicted.keys

    def forget(self, keys: Ints) -> Ints:
        """Drop rows, which begin again from their initial values; gives the ids that had one.

        What undoes earlier steps has to be rid of them, too (`guard.forgetting`).
        """
        if not len(keys):
            return keys
        gone = np.unique(keys)
        gone = gone[self.weights.table.find(gone) >= 0]
        self.weights.table.remove(gone)
        return gone

    def undo(self, change: Change) -> None:
        """Undo the newest step that was not undone yet."""
        table, kept, (keys, rows, stamps) = self.weights.table, ~change.added, change.before
        table.put(*change.evicted)
        table.put(keys[kept], rows[kept], stamps[kept])
        table.remove(keys[change.added])
        self.dense_state[:] = change.dense
        self.weights.moments = change.moments
        self.weights.examples -= change.examples

    def reset(self) -> Ints:
        """Put all weights and their optimiser state back to their initial values; gives all ids.

        Weights from before inputs were standardised keep them as they are. A schedule begins anew.
        """
        self.weights.examples = 0
        keys, initial = self.weights.table.keys.copy(), self.weights.model.initial()
        self.weights.table.remove(keys)
        self.dense_state[:] = 0.0
        self.dense_state[0, : len(initial)] = initial
        scaled = np.isfinite(self.weights.moments[COUNT])
        self.weights.moments = np.where(
            scaled, initial_moments(self.weights.model), self.weights.moments
        )
        return keys

    def delta(self, base: Version | None, changed: ChangedRows, *, with_state: bool) -> Delta:
        """The change from the weights of `base` (None: from none) to the present ones.

        With the optimiser's state, if others than the learner differentiate, or it is published,
        or has the averages that replicas serve.
        """
        weights = self.weights
        with_state = with_state or self._publishes_state or weights.average is not None
        return Delta(
            version=weights.known_version(),
            base=base,
            dense=weights.dense.copy(),
            moments=weights.moments,
            keys=changed.keys,
            rows=changed.rows,
            evicted=changed.evicted,
            checksum=weights.expected_checksum,
            served_checksum=served_checksum(weights),
            row_state=changed.state if with_state else None,
            dense_state=self.dense_state[0, len(weights.dense) :].copy() if with_state else None,
            learned=weights.examples,
        )

    def present(self, keys: Ints) -> ChangedRows:
        """The present rows of `keys`, as a delta has them."""
        keys = np.unique(keys)
        table = self.weights.table
        there = table.find(keys) >= 0
        found = _changed(keys[there], table.read_whole(keys[there]), table.init.width)
        return found._replace(evicted=keys[~there])


_NONE: Ints = np.empty(0, np.int64)


def _changed(keys: Ints, whole: Floats, width: int) -> ChangedRows:
    """Rows float32[u, w + s]."""
    rows, state = (np.ascontiguousarray(part) for part in (whole[:, :width], whole[:, width:]))
    return ChangedRows(keys, rows, state, _NONE)


def _rows_at(table: KeyedTable, keys: Ints, positions: Ints) -> Rows:
    return Rows(keys, table.rows.take(positions, axis=0), table.stamps[positions])
