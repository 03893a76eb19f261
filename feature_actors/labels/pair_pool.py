"""Rows that wait to be found by an id and a time, as columns behind a hash index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView

# Below every time: "none".
LONG_AGO_MS = -(2**62)
# Rows that a pool has room for at least.
LEAST_PAIRS = 1024
# The fields of a cell.
_PAIR, _TIME, _LINK, _LIVE = range(4)


def pairs_of(entities: Ints, join_keys: Ints) -> Ints:
    """int64[n]: the id of each (entity, join key)."""
    pairs = np.empty(len(entities), dtype=np.int64)
    _mix_pairs(entities, join_keys, pairs)
    return pairs


class PairPool:
    """Rows with a pair, a time and columns of their own, in the order in which they came.

    ``heads[pair & mask]`` begins a chain of cells (newest first) that goes on in their links.
    A row that was taken leaves a hole; holes go when the pool is moved to grow.

    Parameters
    ----------
    columns
        The further columns: arrays of shape [0, ...] that give width and dtype. Only those of
        flags may change.
    """

    def __init__(self, **columns: Array) -> None:
        self.live = 0
        """The number of rows that wait."""
        self._begin = 0  # every row before it is a hole
        self._end = 0
        self._cells: Ints = np.zeros((0, 4), dtype=np.int64)
        self._heads: Ints = np.zeros(0, dtype=np.int64)
        # The newest time so far, and by how much a later row was older than it at most: rows
        # come nearly in order of time, so a search for old ones ends early.
        self._order: Ints = np.zeros(2, dtype=np.int64)
        self._columns = columns
        self._resize(LEAST_PAIRS)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return sum(array.nbytes for array in (self._cells, self._heads, *self._columns.values()))

    def append(self, pairs: Ints, times_ms: Ints, **columns: Array) -> None:
        """Add rows (axis ``n``)."""
        count = len(pairs)
        if self._end + count > len(self._cells):
            # Twice what is needed: a row is moved twice at most, on average.
            self._resize(max(LEAST_PAIRS, 2 * (self.live + count)))
        begin, self._end = self._end, self._end + count
        self._cells[begin : self._end, _PAIR] = pairs
        self._cells[begin : self._end, _TIME] = times_ms
        self._cells[begin : self._end, _LIVE] = 1
        for name, values in columns.items():
            self._columns[name][begin : self._end] = values
        _link(self._cells, self._heads, self._order, begin, self._end)
        self.live += count

    def lookup(self, pairs: Ints, from_ms: Ints, until_ms: Ints) -> Ints:
        """int64[n]: the first row of each pair whose time lies in ``[from, until]``, or -1.

        The rows stay.
        """
        return _lookup(pairs, from_ms, until_ms, self._heads, self._cells)

    def first_unspent(
        self, pairs: Ints, from_ms: Ints, at_ms: Ints, until_ms: Ints, flag: str
    ) -> Ints:
        """int64[n]: as `lookup`, but passes over rows with `flag` whose time is below ``at``.

        Each row that is found gets the flag, before the next pair is looked up.
        """
        spent = self._columns[flag]
        times_ms = np.stack([from_ms, at_ms, until_ms])
        return _first_unspent(pairs, times_ms, self._heads, self._cells, spent)

    def match(self, pairs: Ints, from_ms: Ints, at_ms: Ints, until_ms: Ints) -> tuple[Ints, Ints]:
        """Take the rows of each pair whose times lie in ``[from, at]``, and perhaps one more.

        One in ``(at, until]`` is taken too, if no row of the pair that came earlier is in
        ``[from, until]``. Gives the rows, and for each the index of the first such pair.
        """
        found = _match(pairs, from_ms, at_ms, until_ms, self._heads, self._cells)
        self.live -= len(found)
        return found[:, 0].copy(), found[:, 1].copy()

    def older_than(self, before_ms: int) -> tuple[Ints, Ints]:
        """Take the rows whose time is less; gives the rows and their times."""
        disorder_ms = int(self._order[1])
        rows, self._begin = _older(self._cells, self._begin, self._end, before_ms, disorder_ms)
        self.live -= len(rows)
        return rows, self._cells[rows, _TIME]

    def take_with(self, name: str, value: int, until_ms: int) -> Ints:
        """Take the rows with `value` in a column whose time is at most `until_ms`; gives them."""
        here = slice(self._begin, self._end)
        cells, column = self._cells[here], self._columns[name][here]
        found = (column == value) & (cells[:, _LIVE] != 0) & (cells[:, _TIME] <= until_ms)
        rows = self._begin + np.flatnonzero(found)
        self._cells[rows, _LIVE] = 0
        self.live -= len(rows)
        return rows

    def times(self, rows: Ints) -> Ints:
        """int64[m]: the times of `rows`."""
        times: Ints = self._cells[rows, _TIME]
        return times

    @property
    def waits(self) -> Ints:
        """int64[rows]: 1 for each row that waits, 0 for holes; those written to it hold at once."""
        flags: Ints = self._cells[: self._end, _LIVE]
        return flags

    def column(self, name: str) -> Array:
        """One of the further columns, by row; one of flags may be written to until `append`."""
        return self._columns[name]

    def columns(self, rows: Ints) -> dict[str, Array]:
        """The columns at `rows`: those just taken are whole until the next `append`."""
        return {name: column[rows] for name, column in self._columns.items()}

    def freeze(self) -> StateView:
        """The rows that wait. All of a row but its link and its flags stays as it was."""
        offset_range = slice(self._begin, self._end)
        cells, live = self._cells[offset_range], self._cells[offset_range, _LIVE] != 0
        columns = {name: column[offset_range] for name, column in self._columns.items()}
        columns |= {
            name: column.copy() for name, column in columns.items() if column.dtype == np.bool_
        }

        def arrays() -> dict[str, Array]:
            rows = np.flatnonzero(live)
            named = {"pairs": cells[:, _PAIR], "times": cells[:, _TIME], **columns}
            return {name: column[rows] for name, column in named.items()}

        return arrays

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Hold the rows of frozen `arrays`, and no others."""
        self._cells[: self._end, _LIVE] = 0
        self.live = 0
        self._resize(LEAST_PAIRS)
        columns = {name: arrays[name] for name in self._columns if name in arrays}
        self.append(arrays["pairs"], arrays["times"], **columns)

    def _resize(self, capacity: int) -> None:
        rows = np.flatnonzero(self._cells[: self._end, _LIVE])
        self._cells = _moved(self._cells, rows, capacity)
        self._columns = {
            name: _moved(column, rows, capacity) for name, column in self._columns.items()
        }
        self._heads = np.full(1 << (capacity - 1).bit_length(), -1, dtype=np.int64)
        self._begin, self._end = 0, len(rows)
        self._order[:] = LONG_AGO_MS, 0
        _link(self._cells, self._heads, self._order, 0, self._end)


def _moved(column: Array, rows: Ints, capacity: int) -> Array:
    moved = np.zeros((capacity, *column.shape[1:]), dtype=column.dtype)
    moved[: len(rows)] = column[rows]
    return moved


@kernel
def _mix_pairs(entities: Ints, join_keys: Ints, pairs: Ints) -> None:
    for i in range(len(pairs)):
        pairs[i] = mix(entities[i], join_keys[i])


@kernel
def _link(cells: Ints, heads: Ints, order: Ints, begin: int, end: int) -> None:
    mask = len(heads) - 1
    for row in range(begin, end):
        order[0] = max(order[0], cells[row, _TIME])
        order[1] = max(order[1], order[0] - cells[row, _TIME])
        bucket = cells[row, _PAIR] & mask
        cells[row, _LINK] = heads[bucket]
        heads[bucket] = row


@kernel
def _lookup(pairs: Ints, from_ms: Ints, until_ms: Ints, heads: Ints, cells: Ints) -> Ints:
    first = np.full(len(pairs), -1)
    mask = len(heads) - 1
    for i in range(len(pairs)):
        row = heads[pairs[i] & mask]
        while row >= 0:  # newest first: the last that fits is the first in log order
            cell = cells[row]
            fits = from_ms[i] <= cell[_TIME] <= until_ms[i]
            if cell[_LIVE] and cell[_PAIR] == pairs[i] and fits:
                first[i] = row
            row = cell[_LINK]
    return first


@kernel
def _first_unspent(pairs: Ints, times_ms: Ints, heads: Ints, cells: Ints, spent: Bools) -> Ints:
    first = np.full(len(pairs), -1)
    mask = len(heads) - 1
    for i in range(len(pairs)):
        from_ms, at_ms, until_ms = times_ms[:, i]
        row = heads[pairs[i] & mask]
        while row >= 0:  # newest first, as in `_lookup`
            cell = cells[row]
            fits = from_ms <= cell[_TIME] <= until_ms
            counts = cell[_TIME] >= at_ms or not spent[row]
            if cell[_LIVE] and cell[_PAIR] == pairs[i] and fits and counts:
                first[i] = row
            row = cell[_LINK]
        if first[i] >= 0:
            spent[first[i]] = True
    return first


@kernel
def _match(
    pairs: Ints, from_ms: Ints, at_ms: Ints, until_ms: Ints, heads: Ints, cells: Ints
) -> Ints:
    found = np.empty((16, 2), dtype=np.int64)
    count = 0
    mask = len(heads) - 1
    for i in range(len(pairs)):
        first, row = -1, heads[pairs[i] & mask]
        while row >= 0:  # newest first: the last that fits came first
            cell = cells[row]
            if cell[_LIVE] and cell[_PAIR] == pairs[i]:
                if from_ms[i] <= cell[_TIME] <= until_ms[i]:
                    first = row
                if from_ms[i] <= cell[_TIME] <= at_ms[i]:
                    found, count = _taken(found, count, cells, row, i)
            row = cell[_LINK]
        if first >= 0 and cells[first, _LIVE]:
            found, count = _taken(found, count, cells, first, i)
    return found[:count]


@kernel
def _taken(found: Ints, count: int, cells: Ints, row: int, place: int) -> tuple[Ints, int]:
    if count == len(found):
        wider = np.empty((2 * count, 2), dtype=np.int64)
        wider[:count] = found
        found = wider
    cells[row, _LIVE] = 0
    found[count, 0] = row
    found[count, 1] = place
    return found, count + 1


@kernel
def _older(cells: Ints, begin: int, end: int, before_ms: int, disorder_ms: int) -> tuple[Ints, int]:
    while begin < end and not cells[begin, _LIVE]:
        begin += 1
    last, count = begin, 0
    while last < end and cells[last, _TIME] - disorder_ms < before_ms:
        if cells[last, _LIVE] and cells[last, _TIME] < before_ms:
            count += 1
        last += 1
    rows = np.empty(count, dtype=np.int64)
    count = 0
    for row in range(begin, last):
        if cells[row, _LIVE] and cells[row, _TIME] < before_ms:
            cells[row, _LIVE] = 0
            rows[count] = row
            count += 1
    return rows, begin
