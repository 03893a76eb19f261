"""A table of float32 rows by int64 id; it grows as ids appear.

A hash index maps an id to its position. Ids and rows are dense arrays, so that copying the table
copies whole arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np

from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.checksum import sum_at
from freshrank.learner.embeddings.hash_index import HashIndex, find_all, reindex
from freshrank.learner.embeddings.row_init import RowInit
from freshrank.learner.embeddings.table_kernels import (
    insert_all,
    pool_all,
    read_all,
    remove_all,
    set_all,
)

# Half of the index stays free: finding an id then takes 1.5 probes on average.
_MAX_LOAD = 0.5
_LEAST_CAPACITY = 16

Array = TypeVar("Array", Ints, Floats)


class Exchange(NamedTuple):
    """Rows that go and rows that come, looked up in a table."""

    gone: Ints
    """int64[g]: ids."""
    keys: Ints
    """int64[u]: distinct ids."""
    rows: Floats
    """float32[u, width + state_width]."""
    positions: Ints
    """int64[u]: of `keys` before the exchange; -1 for unknown ids."""
    expected: int
    """The `expected_checksum` after the exchange."""


class KeyedTable:
    """Float32 rows by int64 id.

    Id 0 means "absent" and must not be given.

    Parameters
    ----------
    init
        The initial row of each id; `read` returns its ``init.width`` columns.
    state_width
        Number of further columns, which hold optimiser state and start at zero.

    >>> table = KeyedTable(RowInit(width=1, scale=0.0, seed=0))
    >>> table.put(np.array([7, -3]), np.array([[0.5], [2.0]], np.float32))
    >>> table.read(np.array([-3, 99])).ravel().tolist(), len(table)
    ([2.0, 0.0], 2)
    """

    def __init__(self, init: RowInit, state_width: int = 0) -> None:
        self.init = init
        self._size = 0
        self._index: HashIndex = np.full(2 * _LEAST_CAPACITY, -1, np.int32)
        self._keys: Ints = np.empty(_LEAST_CAPACITY, np.int64)
        self._rows: Floats = np.empty((_LEAST_CAPACITY, init.width + state_width), np.float32)
        self._stamps: Ints = np.zeros(_LEAST_CAPACITY, np.int64)
        self._expected = 0

    def __len__(self) -> int:
        return self._size

    @property
    def keys(self) -> Ints:
        """int64[len]: the ids, in the order of the rows (a view)."""
        return self._keys[: self._size]

    @property
    def rows(self) -> Floats:
        """float32[len, width + state_width] (a view of memory that moves when the table grows)."""
        return self._rows[: self._size]

    @property
    def stamps(self) -> Ints:
        """int64[len]: the sort key of `oldest`; callers that change rows set it (a view)."""
        return self._stamps[: self._size]

    def read(self, keys: Ints) -> Floats:
        """float32[len(keys), width]: copies of the rows; the initial row of an unknown id."""
        return read_all(self._index, self._keys, self._rows, keys, self.init, self.init.width)

    def read_whole(self, keys: Ints) -> Floats:
        """As `read`, with the optimiser's state: float32[len(keys), width + state_width]."""
        width = self._rows.shape[1]
        return read_all(self._index, self._keys, self._rows, keys, self.init, width)

    def pool(self, ids: Ints, starts: Ints) -> Floats:
        """float32[n, F, width]: the mean row of each field, of ids int64[n, f] (`pooling.pool`).

        Fast for the candidates of a request, where neighbouring rows share most of their ids.
        """
        return pool_all(self._index, self._keys, self._rows, ids, starts, self.init)

    def find(self, keys: Ints) -> Ints:
        """int64[len(keys)]: positions in `rows`, -1 for unknown ids."""
        return find_all(self._index, self._keys, keys)

    def get_or_insert(self, keys: Ints) -> Ints:
        """int64[len(keys)]: positions in `rows`; appends unknown ids, with stamp 0."""
        known, positions = self._size, self._insert(keys)
        self._update_expected(np.arange(known, self._size), 1)
        return positions

    @contextmanager
    def changing(self, positions: Ints) -> Iterator[None]:
        """Let the caller change the rows at distinct `positions` in place, within the context."""
        self._update_expected(positions, -1)
        yield
        self._update_expected(positions, 1)

    def put(self, keys: Ints, rows: Floats, stamps: Ints | int = 0) -> None:
        """Set whole rows, float32[len(keys), width + state_width]; `keys` are distinct."""
        known, positions = self._size, self._insert(keys)
        self._update_expected(positions[positions < known], -1)
        self._rows[positions], self._stamps[positions] = rows, stamps
        self._update_expected(positions, 1)

    def remove(self, keys: Ints) -> None:
        """Drop the rows of distinct `keys`; ignore unknown keys."""
        if len(keys):
            self._update_expected(self.find(keys), -1)
            self._drop(keys)

    def prepare(self, gone: Ints, keys: Ints, rows: Floats) -> Exchange:
        """Look up what it changes to remove `gone`, then put `rows` under distinct `keys`."""
        positions = self.find(keys)
        changed = np.union1d(positions, self.find(gone)) if len(gone) else positions
        added = sum_at(keys, rows, self.init.width, np.arange(len(keys))) - self._sum_at(changed)
        return Exchange(gone, keys, rows, positions, (self._expected + added) % 2**64)

    def exchange(self, exchange: Exchange) -> None:
        """Make the exchange that was prepared just before; hashes no row."""
        gone, keys, rows, positions, self._expected = exchange
        self._drop(gone)
        # Rows that go leave holes, into which others move.
        fresh = positions < 0 if not len(gone) else slice(None)
        positions[fresh] = self._insert(keys[fresh])
        set_all(self._rows, self._stamps, positions, rows)

    def oldest(self, count: int) -> Ints:
        """int64[count]: the ids with the lowest stamps, ascending; lower ids first if equal."""
        newest = np.partition(self.stamps, count - 1)[count - 1]
        gone = self.keys[self.stamps < newest]
        ties = np.sort(self.keys[self.stamps == newest])
        return np.sort(np.concatenate([gone, ties[: count - len(gone)]]))

    def copy(self) -> KeyedTable:
        """An independent copy."""
        other = KeyedTable(self.init, self._rows.shape[1] - self.init.width)
        other._size = self._size
        other._index = self._index.copy()
        other._keys = self._keys.copy()
        other._rows = self._rows.copy()
        other._stamps = self._stamps.copy()
        other._expected = self._expected
        return other

    @property
    def expected_checksum(self) -> int:
        """The checksum of an intact table; each change updates it, with a hash or two a row."""
        return self._expected

    def checksum(self) -> int:
        """Return 64 bits over ids and the first ``init.width`` columns, whatever their order."""
        return self._sum_at(np.arange(self._size))

    def recount(self) -> bool:
        """Make the present checksum the expected one; return False if they differed."""
        found, expected = self.checksum(), self._expected
        self._expected = found
        return found == expected

    def _insert(self, keys: Ints) -> Ints:
        """Do as `get_or_insert` does, without updating the expected checksum."""
        known = self._size
        self._reserve(known + len(keys))
        positions, self._size = insert_all(
            self._index, self._keys, self._rows, known, keys, self.init
        )
        self._stamps[known : self._size] = 0
        return positions

    def _drop(self, gone: Ints) -> None:
        self._size = remove_all(self._index, self._keys, self._rows, self._stamps, self._size, gone)

    def _sum_at(self, at: Ints) -> int:
        return sum_at(self._keys, self._rows, self.init.width, at)

    def _update_expected(self, positions: Ints, sign: int) -> None:
        self._expected = (self._expected + sign * self._sum_at(positions)) % 2**64

    def _reserve(self, size: int) -> None:
        """Make room for `size` rows by doubling, so that growth costs O(1) a row."""
        capacity = len(self._keys)
        if size <= capacity:
            return
        while capacity < size:
            capacity *= 2
        self._keys = _grown(self._keys, capacity)
        self._rows = _grown(self._rows, capacity)
        self._stamps = _grown(self._stamps, capacity)
        self._index = np.full(int(capacity / _MAX_LOAD), -1, np.int32)
        reindex(self._index, self._keys, self._size)


def _grown(old: Array, capacity: int) -> Array:
    new = np.zeros((capacity, *old.shape[1:]), old.dtype)
    new[: len(old)] = old
    return new
