"""The compiled loops of a keyed table: over its hash index, its ids and its rows."""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import kernel, subkernel
from freshrank.actors.messages import Floats, Ints
from freshrank.learner.embeddings.hash_index import HashIndex, find, find_all, unlink
from freshrank.learner.embeddings.pooling import ABSENT, pool_field
from freshrank.learner.embeddings.row_init import RowInit, initialise


@kernel
def insert_all(
    index: HashIndex, keys: Ints, rows: Floats, size: int, wanted: Ints, init: RowInit
) -> tuple[Ints, int]:
    """Positions of `wanted`, new ids being appended with their initial rows; and the new size."""
    positions = find_all(index, keys, wanted)
    for i in range(len(wanted)):
        if positions[i] >= 0:
            continue
        position, bucket = find(index, keys, wanted[i])
        if position < 0:
            position = np.int64(size)
            size += 1
            index[bucket] = position
            keys[position] = wanted[i]
            initialise(rows[position], wanted[i], init)
        positions[i] = position
    return positions, size


@kernel
def set_all(rows: Floats, stamps: Ints, positions: Ints, new: Floats) -> None:
    """Set the rows at distinct `positions`, with stamp 0."""
    for i in range(len(positions)):
        stamps[positions[i]] = 0
        for j in range(new.shape[1]):
            rows[positions[i], j] = new[i, j]


@kernel
def remove_all(
    index: HashIndex, keys: Ints, rows: Floats, stamps: Ints, size: int, gone: Ints
) -> int:
    """The new size without the rows of `gone`; the last rows fill their places."""
    for i in range(len(gone)):
        position, bucket = find(index, keys, gone[i])
        if position < 0:
            continue
        unlink(index, keys, bucket)
        size -= 1
        if position != size:  # the last row fills the hole
            _, moved = find(index, keys, keys[size])
            index[moved] = position
            keys[position] = keys[size]
            rows[position] = rows[size]
            stamps[position] = stamps[size]
    return size


@kernel
def read_all(
    index: HashIndex, keys: Ints, rows: Floats, wanted: Ints, init: RowInit, width: int
) -> Floats:
    """Copies of the first `width` columns of the rows of `wanted`; an unknown id's initial row."""
    out = np.empty((len(wanted), width), np.float32)
    positions = find_all(index, keys, wanted)
    for i in range(len(wanted)):
        position = positions[i]
        if position >= 0:
            for j in range(width):
                out[i, j] = rows[position, j]
        else:
            initialise(out[i], wanted[i], init)
    return out


@subkernel
def _pool_rows(
    table: tuple[HashIndex, Ints, Floats],
    ids: Ints,
    starts: Ints,
    init: RowInit,
    scratch: tuple[Floats, Ints],
    pooled: Floats,
) -> None:
    """Pool into `pooled`.

    `scratch` is for the row of ids at hand: the table row of each of its ids, float32[f, w], and
    where that is, int64[f].
    """
    index, keys, rows = table
    own, where = scratch
    for i in range(len(ids)):
        for field in range(len(starts) - 1):
            begin, end = starts[field], starts[field + 1]
            # Candidates of one request, which lie beside each other, share most of their ids.
            changed = i == 0
            for j in range(begin, end):
                key = ids[i, j]
                if i > 0 and ids[i - 1, j] == key:
                    continue
                changed = True
                where[j] = ABSENT if key == 0 else j
                position = np.int64(-1) if key == 0 else find(index, keys, key)[0]
                if position >= 0:
                    for k in range(init.width):
                        own[j, k] = rows[position, k]
                elif key != 0:
                    initialise(own[j], key, init)
            if changed:
                pool_field(pooled[i, field], own, where, begin, end)
            else:
                for k in range(init.width):
                    pooled[i, field, k] = pooled[i - 1, field, k]


@kernel
def pool_all(
    index: HashIndex, keys: Ints, rows: Floats, ids: Ints, starts: Ints, init: RowInit
) -> Floats:
    """The mean row of each field of each row of ids int64[n, f] (`KeyedTable.pool`)."""
    pooled = np.empty((len(ids), len(starts) - 1, init.width), np.float32)
    scratch = (np.empty((ids.shape[1], init.width), np.float32), np.empty(ids.shape[1], np.int64))
    _pool_rows((index, keys, rows), ids, starts, init, scratch, pooled)
    return pooled
