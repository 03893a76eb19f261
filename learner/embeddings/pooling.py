"""Pooling from the ids of a batch to a vector per field, and its transpose.

Each field of a row is the mean over the field's ids that are present (not 0); a field without
any is the zero vector. Axes: ``n`` rows, ``f`` id columns, ``F`` fields, ``u`` distinct ids,
``w`` the width of one table row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel, lean_kernel, subkernel
from freshrank.actors.messages import Floats, InputLayout, Ints
from freshrank.learner.embeddings.hash_index import HashIndex, bucket_of

# The place in `where` (see `pool`) of an absent id.
ABSENT = -1


class Distinct(NamedTuple):
    """The ids of a batch, each once, and where each occurs."""

    keys: Ints
    """int64[u], ascending."""
    where: Ints
    """int64[n, f]: the place of each id in `keys`; `ABSENT` for an absent id."""


def field_starts(layout: InputLayout) -> Ints:
    """int64[F + 1]: the first id column of each field, then the number of id columns.

    >>> from freshrank.actors.messages import IdField
    >>> field_starts(InputLayout((), (IdField("item"), IdField("recent", 3)))).tolist()
    [0, 1, 4]
    """
    widths = [0] + [field.width for field in layout.fields]
    return np.cumsum(np.array(widths, np.int64))


@kernel
def _distinct(ids: Ints, slots: HashIndex) -> tuple[Ints, Ints]:
    """Keys in the order of their first appearance, and the place of each id; `slots` is all -1."""
    mask = len(slots) - 1
    keys = np.empty(ids.size, np.int64)
    index = np.empty(ids.shape, np.int64)
    size = 0
    for i in range(ids.shape[0]):
        for j in range(ids.shape[1]):
            key = ids[i, j]
            if key == 0:
                index[i, j] = ABSENT
                continue
            slot = bucket_of(key, mask)
            while slots[slot] >= 0 and keys[slots[slot]] != key:
                slot = (slot + 1) & mask
            if slots[slot] < 0:
                slots[slot] = size
                keys[size] = key
                size += 1
            index[i, j] = slots[slot]
    return keys[:size].copy(), index


@kernel
def _renumber(index: Ints, rank: Ints) -> None:
    for i in range(index.shape[0]):
        for j in range(index.shape[1]):
            if index[i, j] >= 0:
                index[i, j] = rank[index[i, j]]


def distinct(ids: Ints) -> Distinct:
    """List each present id of int64[n, f] once.

    >>> distinct(np.array([[5, 0], [-2, 5]]))
    Distinct(keys=array([-2,  5]), where=array([[ 1, -1],
           [ 0,  1]]))
    """
    slots = np.full(1 << max(4, (2 * ids.size).bit_length()), -1, np.int32)
    keys, where = _distinct(ids, slots)
    order = np.argsort(keys)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    _renumber(where, rank)
    return Distinct(keys[order], where)


@subkernel
def pool_field(out: Floats, rows: Floats, where: Ints, begin: int, end: int) -> None:
    """Set `out` float32[w] to the mean of the `rows` at ``where[begin:end]``, of one field."""
    if end - begin == 1 and where[begin] != ABSENT:  # as nearly all are: no bag
        at = where[begin]
        for k in range(len(out)):
            out[k] = rows[at, k]
        return
    out[:] = 0.0
    present = 0
    for j in range(begin, end):
        at = where[j]
        if at == ABSENT:
            continue
        present += 1
        for k in range(len(out)):
            out[k] += rows[at, k]
    if present > 1:
        for k in range(len(out)):
            out[k] /= present


@lean_kernel
def pool_into(pooled: Floats, rows: Floats, where: Ints, starts: Ints) -> None:
    """Set `pooled` float32[n, F, w] to what `pool` gives."""
    for i in range(where.shape[0]):
        for field in range(pooled.shape[1]):
            begin = starts[field]
            at = where[i, begin]
            if starts[field + 1] - begin == 1 and at != ABSENT:  # not worth a call
                for k in range(pooled.shape[2]):
                    pooled[i, field, k] = rows[at, k]
                continue
            pool_field(pooled[i, field], rows, where[i], begin, starts[field + 1])


def pool(rows: Floats, where: Ints, starts: Ints, width: int | None = None) -> Floats:
    """float32[n, F, w]: the mean of the table rows of each field.

    Parameters
    ----------
    rows
        float32[m, w], or wider where `width` is given.
    where
        int64[n, f]: the place in `rows` of each id's row; `ABSENT` for an absent id.
    starts
        See `field_starts`.
    width
        ``w``: further columns of `rows`, the optimiser's state, are left out.
    """
    width = rows.shape[1] if width is None else width
    pooled = np.empty((len(where), len(starts) - 1, width), np.float32)
    pool_into(pooled, rows, where, starts)
    return pooled


@kernel
def _list_touched(index: Ints, places: HashIndex) -> Ints:
    """Each id's number once, in the order of their first appearance; `places` gets their order."""
    touched = np.empty(min(index.size, len(places)), np.int64)
    size = 0
    for i in range(index.shape[0]):
        for j in range(index.shape[1]):
            at = index[i, j]
            if at >= 0 and places[at] < 0:
                places[at] = size
                touched[size] = at
                size += 1
    return touched[:size]


@kernel
def scatter(
    upstream: Floats, index: Ints, starts: Ints, places: HashIndex
) -> tuple[Ints, Floats, Floats, Floats]:
    """The transpose of `pool`, applied to ``upstream`` float32[n, F, w], and its squares.

    `places` is memory that calls share, int32[u] for ``u`` distinct ids: all -1, as it is left. So
    the work is that of the ``t`` ids which occur, however many there are.

    Returns these ids' numbers int64[t], the sum over the ``n`` examples, float32[t, w], the sum of
    the squares of each example's part, float32[t, w], and the number of parts, float32[t]. An id
    that a bag has several times has a single part, the sum over its occurrences.
    """
    touched = _list_touched(index, places)
    sums = np.zeros((len(touched), upstream.shape[2]), np.float32)
    squares = np.zeros_like(sums)
    counts = np.zeros(len(touched), np.float32)
    for i in range(index.shape[0]):
        for field in range(len(starts) - 1):
            begin, end = starts[field], starts[field + 1]
            if end - begin == 1:  # as nearly all are: no bag
                if index[i, begin] < 0:
                    continue
                at = places[index[i, begin]]
                counts[at] += 1.0
                for k in range(sums.shape[1]):
                    part = upstream[i, field, k]
                    sums[at, k] += part
                    squares[at, k] += part * part
                continue
            present = 0
            for j in range(begin, end):
                present += index[i, j] >= 0
            for j in range(begin, end):
                if index[i, j] < 0:
                    continue
                times = 0
                for other in range(begin, end):
                    times += index[i, other] == index[i, j]
                at = places[index[i, j]]
                counts[at] += 1.0 / times
                for k in range(sums.shape[1]):
                    part = upstream[i, field, k] / present
                    sums[at, k] += part
                    squares[at, k] += times * part * part
    for at in touched:
        places[at] = -1
    return touched, sums, squares, counts


def no_places(distinct_ids: int) -> HashIndex:
    """The memory of `scatter`: int32[u], all -1."""
    return np.full(distinct_ids, -1, np.int32)
