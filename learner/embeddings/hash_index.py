"""The index of a keyed table: open addressing, linear probing, no grave stones to sweep."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Ints

Slots: TypeAlias = NDArray[np.int32]
"""The index: positions of rows, -1 where a slot is free. 32 bits: half the cache misses."""


@kernel
def home(key: np.int64, mask: int) -> np.int64:
    """The first slot to look for `key` in an index of ``mask + 1`` (a power of two) slots."""
    return mix(np.int64(0), key) & np.int64(mask)


@kernel
def find(index: Slots, keys: Ints, key: np.int64) -> tuple[np.int64, np.int64]:
    """(position of `key` or -1, the index slot where it is or would be)."""
    mask = len(index) - 1
    slot = home(key, mask)
    while index[slot] >= 0:
        if keys[index[slot]] == key:
            return np.int64(index[slot]), slot
        slot = (slot + 1) & mask
    return np.int64(-1), slot


@kernel
def find_all(index: Slots, keys: Ints, wanted: Ints) -> Ints:
    """The position of each id, or -1."""
    positions = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        positions[i], _ = find(index, keys, wanted[i])
    return positions


@kernel
def reindex(index: Slots, keys: Ints, size: int) -> None:
    """Enter the first `size` of `keys` into an empty index."""
    for position in range(size):
        _, slot = find(index, keys, keys[position])
        index[slot] = position


@kernel
def unlink(index: Slots, keys: Ints, slot: np.int64) -> None:
    """Empty one slot and move back what had been pushed on by it."""
    mask = len(index) - 1
    index[slot] = -1
    probe = (slot + 1) & mask
    while index[probe] >= 0:
        wanted = home(keys[index[probe]], mask)
        if ((probe - wanted) & mask) >= ((probe - slot) & mask):
            index[slot] = index[probe]
            index[probe] = -1
            slot = probe
        probe = (probe + 1) & mask
