"""Checksums of keyed rows that do not depend on their order, so that changes update them.

The checksum of a table is the sum, modulo 2^64, of one hash per row: a change of a row subtracts
the old hash and adds the new one. Two tables that differ agree by chance once in 2^64 times.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Floats, Ints

# 2^64 / golden ratio, odd: multiplying by it loses no bit and moves low bits to high places.
_ODD = np.uint64(0x9E3779B97F4A7C15)


@kernel
def _sum_at(keys: Ints, bits: NDArray[np.uint32], width: int, positions: Ints) -> np.uint64:
    total = np.uint64(0)
    for position in positions:
        if position < 0:
            continue
        row = np.uint64(0)
        for j in range(width):
            row = (row ^ np.uint64(bits[position, j])) * _ODD
            row ^= row >> np.uint64(32)
        total += np.uint64(mix(keys[position], np.int64(row)))
    return total


def sum_at(keys: Ints, rows: Floats, width: int, positions: Ints) -> int:
    """The sum over the rows at `positions` (-1: none), of the first `width` columns of each.

    >>> keys, rows = np.array([3, 4]), np.array([[0.5], [1.5]], np.float32)
    >>> both, first, second = (sum_at(keys, rows, 1, np.array(at)) for at in ([0, 1], [0], [1]))
    >>> (first + second) % 2**64 == both
    True
    """
    return int(_sum_at(keys, rows.view(np.uint32), width, positions))
