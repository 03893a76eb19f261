"""The compiled loops that fill a model's inputs, each from the rows of one table.

Arguments are plain arrays: numba needs a microsecond to unpack a tuple argument, which is as long
as these loops take for the candidates of a request.
"""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel, subkernel
from freshrank.actors.messages import Doubles, Floats, Ints

# Sums of enormous numbers overflow to infinity, which no model must see.
_LARGEST = float(np.finfo(np.float64).max)


@subkernel
def _shrink(value: float) -> float:
    """The sign times log1p of the magnitude: always finite, 0 for NaN."""
    if value > 0.0:
        return float(np.log1p(min(value, _LARGEST)))
    if value < 0.0:
        return float(-np.log1p(min(-value, _LARGEST)))
    return 0.0


@lean_kernel
def gather_numbers(values: Doubles, which: Ints, first: int, out: Floats) -> None:
    """Row ``i`` of `out` float32[n, d] gets line ``which[i]`` of `values`, from column `first`."""
    for i in range(len(which)):
        row = which[i]
        # All candidates take the row of the request's entity.
        again = i > 0 and which[i - 1] == row
        for column in range(values.shape[1]):
            if again:
                out[i, first + column] = out[i - 1, first + column]
            else:
                out[i, first + column] = _shrink(values[row, column])


@lean_kernel
def gather_ids(ids: Ints, which: Ints, columns: Ints, out: Ints) -> None:
    """Row ``i`` of `out` int64[n, f] gets columns of line ``which[i]`` of `ids`.

    `columns` int64[., 2]: of `ids`, and of `out`.
    """
    for i in range(len(which)):
        row = which[i]
        for k in range(len(columns)):
            out[i, columns[k, 1]] = ids[row, columns[k, 0]]


@lean_kernel
def gather_matches(
    ids: Ints, weights: Doubles, which: Ints, context: Ints, matches: Ints, out: Floats
) -> None:
    """The weight that a bag gives to the id that row ``i`` has in a context field.

    `context` int64[n, .] has the ids of the context fields; `matches` int64[., 4]: first and end
    column of a bag, column of `context`, column of `out` float32[n, d].
    """
    for i in range(len(which)):
        row = which[i]
        for match in range(len(matches)):
            weight, own = 0.0, context[i, matches[match, 2]]
            for place in range(matches[match, 0], matches[match, 1]):
                if ids[row, place] == own:
                    weight += weights[row, place]
            out[i, matches[match, 3]] = _shrink(weight)
