"""From the ids of a batch to one vector per field and back: gather, average bags, scatter.

Each field of a row is the mean over the field's ids that are present (not 0); a field without
any is the zero vector. Axes: ``n`` rows, ``f`` id columns, ``F`` fields, ``u`` distinct ids,
``w`` the width of one table row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Floats, InputLayout, Ints
from freshrank.learner.embeddings.hash_index import home


class Distinct(NamedTuple):
    """The ids of a batch, each once."""

    keys: Ints
    """int64[u], ascending."""
    where: Ints
    """int64[n, f]: where in `keys` each id stands; -1 for an absent one."""


def field_starts(layout: InputLayout) -> Ints:
    """int64[F + 1]: the first id column of each field, and their number at the end.

    >>> from freshrank.actors.messages import IdField
    >>> field_starts(InputLayout((), (IdField("item"), IdField("recent", 3)))).tolist()
    [0, 1, 4]
    """
    widths = [0] + [one.width for one in layout.fields]
    return np.cumsum(np.array(widths, np.int64))


@kernel
def _distinct(ids: Ints, slots: Ints) -> tuple[Ints, Ints]:
    """Keys in the order of their first appearance, and the index; `slots` is all -1."""
    mask = len(slots) - 1
    keys = np.empty(ids.size, np.int64)
    index = np.empty(ids.shape, np.int64)
    size = 0
    for i in range(ids.shape[0]):
        for j in range(ids.shape[1]):
            key = ids[i, j]
            if key == 0:
                index[i, j] = -1
                continue
            slot = home(key, mask)
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
    """Each present id of int64[n, f] once.

    >>> distinct(np.array([[5, 0], [-2, 5]]))
    Distinct(keys=array([-2,  5]), where=array([[ 1, -1],
           [ 0,  1]]))
    """
    slots = np.full(1 << max(4, (2 * ids.size).bit_length()), -1, np.int64)
    keys, index = _distinct(ids, slots)
    order = np.argsort(keys)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    _renumber(index, rank)
    return Distinct(keys[order], index)


@kernel
def pool(rows: Floats, index: Ints, starts: Ints) -> Floats:
    """float32[n, F, w]: the mean of the table rows of each field (rows float32[u, w])."""
    n, fields, width = index.shape[0], len(starts) - 1, rows.shape[1]
    pooled = np.zeros((n, fields, width), np.float32)
    for i in range(n):
        for field in range(fields):
            present = 0
            for j in range(starts[field], starts[field + 1]):
                if index[i, j] >= 0:
                    present += 1
                    for k in range(width):
                        pooled[i, field, k] += rows[index[i, j], k]
            if present > 1:
                for k in range(width):
                    pooled[i, field, k] /= present
    return pooled


@kernel
def scatter(upstream: Floats, index: Ints, starts: Ints, distinct_ids: int) -> Floats:
    """float32[u, w]: the transpose of `pool`, applied to ``upstream`` float32[n, F, w]."""
    rows = np.zeros((distinct_ids, upstream.shape[2]), np.float32)
    for i in range(index.shape[0]):
        for field in range(len(starts) - 1):
            present = 0
            for j in range(starts[field], starts[field + 1]):
                present += index[i, j] >= 0
            for j in range(starts[field], starts[field + 1]):
                if index[i, j] >= 0:
                    for k in range(rows.shape[1]):
                        rows[index[i, j], k] += upstream[i, field, k] / present
    return rows
