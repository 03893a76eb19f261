"""A keyed table: int64 id -> float32 row, without collisions, grown as ids appear.

Ids lie in an open-addressing index (linear probing, backward-shift deletion: no grave stones to
sweep); rows lie densely beside them, so that a snapshot is one copy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.checksum import sum_at
from freshrank.learner.embeddings.hash_index import Slots, find, find_all, reindex, unlink

# Half of the index stays free: a probe then looks at 1.5 places on average when it finds its id.
_MAX_LOAD = 0.5
_LEAST_CAPACITY = 16

Array = TypeVar("Array", Ints, Floats)


class RowInit(NamedTuple):
    """How the row of an id that was never seen looks, the same in every process.

    Column 0 (the linear weight) and all columns from `width` on (optimiser state) start at zero;
    the columns between are uniform in ``[-scale, scale)``, drawn by a counter hash of the id.
    """

    width: int
    scale: float
    seed: int


@kernel
def _initialise(row: Floats, key: np.int64, init: RowInit) -> None:
    row[:] = 0.0
    if init.scale > 0.0:
        stream = mix(np.int64(init.seed), key)
        for j in range(1, init.width):
            bits = np.uint64(mix(stream, np.int64(j))) >> np.uint64(40)
            row[j] = init.scale * (np.float64(bits) / 8388608.0 - 1.0)


@kernel
def _insert_all(
    index: Slots, keys: Ints, rows: Floats, size: int, wanted: Ints, init: RowInit
) -> tuple[Ints, int]:
    """Positions of `wanted`, those that are new appended with their initial rows; new size."""
    positions = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        position, slot = find(index, keys, wanted[i])
        if position < 0:
            position = np.int64(size)
            size += 1
            index[slot] = position
            keys[position] = wanted[i]
            _initialise(rows[position], wanted[i], init)
        positions[i] = position
    return positions, size


@kernel
def _remove_all(index: Slots, keys: Ints, rows: Floats, stamps: Ints, size: int, gone: Ints) -> int:
    for i in range(len(gone)):
        position, slot = find(index, keys, gone[i])
        if position < 0:
            continue
        unlink(index, keys, slot)
        size -= 1
        if position != size:  # the last row fills the hole
            _, moved = find(index, keys, keys[size])
            index[moved] = position
            keys[position] = keys[size]
            rows[position] = rows[size]
            stamps[position] = stamps[size]
    return size


@kernel
def _read_all(index: Slots, keys: Ints, rows: Floats, wanted: Ints, init: RowInit) -> Floats:
    out = np.empty((len(wanted), init.width), np.float32)
    for i in range(len(wanted)):
        position, _ = find(index, keys, wanted[i])
        if position >= 0:
            for j in range(init.width):
                out[i, j] = rows[position, j]
        else:
            _initialise(out[i], wanted[i], init)
    return out


@kernel
def _pool_all(
    index: Slots, keys: Ints, rows: Floats, init: RowInit, ids: Ints, starts: Ints
) -> Floats:
    n, fields, columns, width = len(ids), len(starts) - 1, ids.shape[1], init.width
    pooled = np.zeros((n, fields, width), np.float32)
    found = np.zeros((columns, width), np.float32)  # the row of the id that each column is at
    for i in range(n):
        for field in range(fields):
            present = 0
            for j in range(starts[field], starts[field + 1]):
                one = ids[i, j]
                if one == 0:
                    continue
                if i == 0 or ids[i - 1, j] != one:
                    position, _ = find(index, keys, one)
                    if position >= 0:
                        found[j] = rows[position, :width]
                    else:
                        _initialise(found[j], one, init)
                present += 1
                for k in range(width):
                    pooled[i, field, k] += found[j, k]
            if present > 1:
                for k in range(width):
                    pooled[i, field, k] /= present
    return pooled


class KeyedTable:
    """Rows by id.

    Parameters
    ----------
    init
        The initial rows; ``init.width`` columns are what `read` gives.
    state_width
        Columns behind those, which start at zero (optimiser state).

    Id 0 means "absent" everywhere and must not be given.

    >>> table = KeyedTable(RowInit(width=1, scale=0.0, seed=0))
    >>> table.put(np.array([7, -3]), np.array([[0.5], [2.0]], np.float32))
    >>> table.read(np.array([-3, 99])).ravel().tolist(), len(table)
    ([2.0, 0.0], 2)
    """

    def __init__(self, init: RowInit, state_width: int = 0) -> None:
        self.init = init
        self._size = 0
        self._index: Slots = np.full(2 * _LEAST_CAPACITY, -1, np.int32)
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
        """float32[len, width + state_width] (a view: moves when the table grows)."""
        return self._rows[: self._size]

    @property
    def stamps(self) -> Ints:
        """int64[len]: what `oldest` goes by; to be set by whoever changes a row (a view)."""
        return self._stamps[: self._size]

    def read(self, keys: Ints) -> Floats:
        """float32[len(keys), width]: copies of the rows, the initial ones for unknown ids."""
        return _read_all(self._index, self._keys, self._rows, keys, self.init)

    def pool(self, ids: Ints, starts: Ints) -> Floats:
        """float32[n, F, width]: what `pooling.pool` makes of the rows of ids int64[n, f].

        Without looking for the distinct ids first: rows that lie beside each other, the
        candidates of one request, share most of theirs.
        """
        return _pool_all(self._index, self._keys, self._rows, self.init, ids, starts)

    def find(self, keys: Ints) -> Ints:
        """int64[len(keys)]: positions in `rows`, -1 for unknown ids."""
        return find_all(self._index, self._keys, keys)

    def reach(self, keys: Ints) -> Ints:
        """int64[len(keys)]: positions in `rows`; unknown ids are added at the end, unstamped."""
        known, positions = self._size, self._place(keys)
        self._count(np.arange(known, self._size), 1)
        return positions

    @contextmanager
    def changing(self, positions: Ints) -> Iterator[None]:
        """Within it the rows at `positions`, distinct, may be changed in place."""
        self._count(positions, -1)
        yield
        self._count(positions, 1)

    def put(self, keys: Ints, rows: Floats, stamps: Ints | int = 0) -> None:
        """Set whole rows, float32[len(keys), width + state_width]; `keys` are distinct."""
        known, positions = self._size, self._place(keys)
        self._count(positions[positions < known], -1)
        self._rows[positions], self._stamps[positions] = rows, stamps
        self._count(positions, 1)

    def remove(self, keys: Ints) -> None:
        """Forget `keys`, distinct (unknown ones are passed over)."""
        if len(keys):
            self._count(self.find(keys), -1)
            self._drop(keys)

    def exchange(self, gone: Ints, keys: Ints, rows: Floats, expected: int) -> None:
        """`remove` and `put` at the cost of no hash; `expected` is what `expected_after` gave."""
        self._drop(gone)
        positions = self._place(keys)
        self._rows[positions], self._stamps[positions] = rows, 0
        self._expected = expected

    def oldest(self, count: int) -> Ints:
        """int64[count]: the ids with the least stamps, ascending (ties: the lesser id first)."""
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
        """What `checksum` should give: kept up with every change, a hash or two a changed row."""
        return self._expected

    def expected_after(self, gone: Ints, keys: Ints, rows: Floats) -> int:
        """What `expected_checksum` would be were `gone` removed, then `rows` put under `keys`."""
        positions = self.find(keys)
        if len(gone):
            positions = np.union1d(positions, self.find(gone))
        added = sum_at(keys, rows, self.init.width, np.arange(len(keys)))
        return (self._expected - self._sum_at(positions) + added) % 2**64

    def checksum(self) -> int:
        """64 bits over ids and the first ``init.width`` columns, whatever their order."""
        return self._sum_at(np.arange(self._size))

    def recount(self) -> bool:
        """Expect from here on what is there; False when it is not what was expected so far."""
        found, expected = self.checksum(), self._expected
        self._expected = found
        return found == expected

    def _place(self, keys: Ints) -> Ints:
        """As `reach`, without counting what was added."""
        known = self._size
        self._reserve(known + len(keys))
        positions, self._size = _insert_all(
            self._index, self._keys, self._rows, known, keys, self.init
        )
        self._stamps[known : self._size] = 0
        return positions

    def _drop(self, gone: Ints) -> None:
        self._size = _remove_all(
            self._index, self._keys, self._rows, self._stamps, self._size, gone
        )

    def _sum_at(self, positions: Ints) -> int:
        return sum_at(self._keys, self._rows, self.init.width, positions)

    def _count(self, positions: Ints, sign: int) -> None:
        self._expected = (self._expected + sign * self._sum_at(positions)) % 2**64

    def _reserve(self, size: int) -> None:
        """Make room for `size` rows, doubling, so that growth costs O(1) a row."""
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
