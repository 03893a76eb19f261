"""The initial row of an id."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Floats


class RowInit(NamedTuple):
    """The initial row of an id, the same in every process.

    Column 0 (the linear weight) and all columns from `width` on (optimiser state) start at zero;
    the columns between are uniform in ``[-scale, scale)``, drawn by a hash of id and column.
    """

    width: int
    scale: float
    seed: int

    @property
    def linear(self) -> int:
        """How many of the first columns are linear weights, and no embedding: those from zero."""
        return min(1, self.width) if self.scale > 0.0 else self.width


@lean_kernel
def initialise(row: Floats, key: np.int64, init: RowInit) -> None:
    """Fill a whole row with its initial values."""
    row[:] = 0.0
    if init.scale > 0.0:
        stream = mix(np.int64(init.seed), key)
        for j in range(1, init.width):
            bits = np.uint64(mix(stream, np.int64(j))) >> np.uint64(40)
            row[j] = init.scale * (np.float64(bits) / 8388608.0 - 1.0)
