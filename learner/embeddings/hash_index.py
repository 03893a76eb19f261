"""The hash index of a keyed table: open addressing, linear probing, no tombstones."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import kernel, lean_kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Ints

HashIndex: TypeAlias = NDArray[np.int32]
"""int32, a power of two long: positions of rows, -1 in free buckets. 32 bits halve cache misses."""


@lean_kernel
def bucket_of(key: np.int64, mask: int) -> np.int64:
    """The bucket where the search for `key` begins, in an index of ``mask + 1`` buckets."""
    return mix(np.int64(0), key) & np.int64(mask)


@lean_kernel
def find(index: HashIndex, keys: Ints, key: np.int64) -> tuple[np.int64, np.int64]:
    """(position of `key` or -1, the bucket where it is or would be)."""
    mask = len(index) - 1
    bucket = bucket_of(key, mask)
    while index[bucket] >= 0:
        if keys[index[bucket]] == key:
            return np.int64(index[bucket]), bucket
        bucket = (bucket + 1) & mask
    return np.int64(-1), bucket


@kernel
def find_all(index: HashIndex, keys: Ints, wanted: Ints) -> Ints:
    """The position of each id, or -1.

    All first probes come before the comparisons: they do not depend on each other, so that memory
    is waited for once for many of them.
    """
    mask = len(index) - 1
    positions = np.empty(len(wanted), np.int64)
    for i in range(len(wanted)):
        positions[i] = index[bucket_of(wanted[i], mask)]
    for i in range(len(wanted)):
        if positions[i] >= 0 and keys[positions[i]] != wanted[i]:
            positions[i], _ = find(index, keys, wanted[i])
    return positions


@kernel
def reindex(index: HashIndex, keys: Ints, size: int) -> None:
    """Insert the first `size` of `keys` into an empty index."""
    for position in range(size):
        _, bucket = find(index, keys, keys[position])
        index[bucket] = position


@kernel
def unlink(index: HashIndex, keys: Ints, bucket: np.int64) -> None:
    """Empty one bucket, and move back the entries that it had displaced (backward shift)."""
    mask = len(index) - 1
    index[bucket] = -1
    probe = (bucket + 1) & mask
    while index[probe] >= 0:
        wanted = bucket_of(keys[index[probe]], mask)
        if ((probe - wanted) & mask) >= ((probe - bucket) & mask):
            index[bucket] = index[probe]
            index[probe] = -1
            bucket = probe
        probe = (probe + 1) & mask
