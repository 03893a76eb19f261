"""The examples that shown items give: each item by itself, or each choice within a list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.feature_actors.labels.examples import RANK_BITS, LabelledRows, served_examples
from freshrank.feature_actors.labels.pair_pool import PairPool
from freshrank.feature_actors.labels.unjoined import Unjoined

Columns = Mapping[str, Array]
"""Of shown items: ``order``, ``dense``, ``ids`` and ``served``."""


class ShownExamples(ABC):
    """A rule from what became of shown items to examples.

    What it gives may not depend on how reading the topics of the impressions and of the events took
    turns: an item is positive `at_once` where its event was read first.
    """

    @abstractmethod
    def shown(self, shown: Columns, shown_ms: Ints) -> LabelledRows:
        """Those that items (in log order) give when they are shown."""

    @abstractmethod
    def at_once(self, shown: Columns, rows: Ints, events: Ints, known_ms: Ints) -> LabelledRows:
        """Those of the `rows` of shown items that are positive: by the log's `events` int64[m]."""

    @abstractmethod
    def positive(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """Those of `rows` just taken from what waits, positive by events in this order."""

    @abstractmethod
    def expired(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """Those of `rows` just taken from what waits, since no event has come."""


class Pointwise(ShownExamples):
    """Each item is a negative example at once, and corrected when it becomes positive."""

    def shown(self, shown: Columns, shown_ms: Ints) -> LabelledRows:
        """See `ShownExamples`; an impression of a version before does not carry its scores."""
        known = np.flatnonzero(~np.isnan(shown["served"]))
        return served_examples(at(shown, known), 0.0, shown_ms[known], corrects=False)

    def at_once(self, shown: Columns, rows: Ints, events: Ints, known_ms: Ints) -> LabelledRows:
        """See `ShownExamples`."""
        return served_examples(at(shown, rows), 1.0, known_ms, corrects=True)

    def positive(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """See `ShownExamples`."""
        return served_examples(pending.columns(rows), 1.0, known_ms, corrects=True)

    def expired(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """See `ShownExamples`: those that are not learned as negative yet."""
        unlearned = np.isnan(pending.column("served")[rows])
        columns = pending.columns(rows[unlearned])
        return served_examples(columns, 0.0, known_ms[unlearned], corrects=False)


class Listwise(ShownExamples):
    """An item that becomes positive gives a slate: itself, then the others of its list.

    The others are those that have not become positive before; where there are none, `unjoined`
    counts it.
    """

    def __init__(self, unjoined: Unjoined) -> None:
        self._unjoined = unjoined

    def shown(self, shown: Columns, shown_ms: Ints) -> LabelledRows:
        """No examples: a list without an event says nothing about its order."""
        none = np.zeros(0, np.int64)
        return served_examples(at(shown, none), 0.0, none, corrects=False)

    def at_once(self, shown: Columns, rows: Ints, events: Ints, known_ms: Ints) -> LabelledRows:
        """See `ShownExamples`."""
        # In the order of the events; items of one event as `PairPool.match` gives them.
        turns = np.lexsort((-rows, events))
        waits = np.ones((len(shown["order"]), 4), np.int64)[:, 3]  # strides as those of a pool
        found, turn = _slates(shown["order"], waits, rows[turns])
        return self._examples(at(shown, found), turn, known_ms[turns])

    def positive(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """See `ShownExamples`."""
        found, turn = _slates(pending.column("order"), pending.waits, rows)
        return self._examples(pending.columns(found), turn, known_ms)

    def expired(self, pending: PairPool, rows: Ints, known_ms: Ints) -> LabelledRows:
        """None, see `shown`."""
        return self.shown(pending.columns(rows[:0]), known_ms)

    def _examples(self, columns: Columns, turn: Ints, known_ms: Ints) -> LabelledRows:
        """The slates of the items that were chosen at each `turn`, in this order."""
        first = np.diff(turn, prepend=-1) > 0
        self._unjoined.label_alone += len(known_ms) - int(np.count_nonzero(first))
        # All rows of a slate are where its chosen item is: sorted by that, they stay together.
        order = columns["order"][first][np.cumsum(first) - 1]
        rows = served_examples({**columns, "order": order}, 0.0, known_ms[turn], corrects=False)
        rows.labels[first] = 1.0
        return rows


def at(columns: Columns, rows: Ints) -> dict[str, Array]:
    """The columns of some rows."""
    return {name: column[rows] for name, column in columns.items()}


@kernel
def _slates(order: Ints, waits: Ints, chosen: Ints) -> tuple[Ints, Ints]:
    """The rows of the slates of chosen items, and the turn of each: its place among the `chosen`.

    A slate is the chosen row, then those of its list that wait. `order` and `waits` have an entry
    for each row; rows of a list are neighbours. A chosen row does not wait after its turn. An item
    that is chosen when nothing else of its list waits gives no slate.
    """
    count = 0
    for row in chosen:
        waits[row] = 1
        begin, end = _list_of(order, len(waits), row)
        count += end - begin
    rows, turns = np.empty(count, np.int64), np.empty(count, np.int64)
    count = 0
    for turn in range(len(chosen)):
        row = chosen[turn]
        begin, end = _list_of(order, len(waits), row)
        rows[count], turns[count] = row, turn
        found = count + 1
        for other in range(begin, end):
            if other != row and waits[other]:
                rows[found], turns[found] = other, turn
                found += 1
        waits[row] = 0
        if found > count + 1:
            count = found
    return rows[:count], turns[:count]


@kernel
def _list_of(order: Ints, rows: int, row: int) -> tuple[int, int]:
    """Where the list of a row begins and ends."""
    begin, end, place = row, row + 1, order[row] >> RANK_BITS
    while begin > 0 and order[begin - 1] >> RANK_BITS == place:
        begin -= 1
    while end < rows and order[end] >> RANK_BITS == place:
        end += 1
    return begin, end
