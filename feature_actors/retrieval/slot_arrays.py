"""Arrays with a line for each slot of a catalogue, and lists of slots."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Ints

_Number = TypeVar("_Number", np.int64, np.float64)


def grown(array: NDArray[_Number], slots: int) -> NDArray[_Number]:
    """`array` with at least `slots` lines; new ones are 0."""
    missing = slots - len(array)
    if missing <= 0:
        return array
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), dtype=array.dtype)])


def filled(lines: Ints) -> tuple[Ints, Ints]:
    """(line int64[p], column int64[p]) of each number of `lines` that is not 0, in their order.

    What `np.nonzero` gives; where few are filled, in a tenth of its time.

    >>> [one.tolist() for one in filled(np.array([[0, 7], [0, 0], [8, 9]]))]
    [[0, 2, 2], [1, 0, 1]]
    """
    return np.divmod(np.flatnonzero(lines.ravel() != 0), lines.shape[1])


def put(array: NDArray[_Number], slots: Ints, values: NDArray[_Number]) -> bool:
    """Write `values` to the lines `slots` of `array`; returns whether any was another before.

    >>> numbers = np.array([1, 2, 3])
    >>> put(numbers, np.array([0]), np.array([1])), put(numbers, np.array([2]), np.array([7]))
    (False, True)
    """
    if np.array_equal(array[slots], values):
        return False
    array[slots] = values
    return True


def places_of(slots: Ints, wanted: Ints) -> Ints:
    """int64[m]: the places in `slots`, which ascend, of those of `wanted` that are there.

    >>> places_of(np.array([2, 5, 8]), np.array([8, 3, 2])).tolist()
    [2, 0]
    """
    if not len(slots):
        return slots
    places = np.minimum(np.searchsorted(slots, wanted), len(slots) - 1)
    found: Ints = places[slots[places] == wanted]
    return found


def side_by_side(ids: Ints, owners: Ints, rows: int, width: int) -> Ints:
    """int64[rows, width]: the first `width` of the ids of each owner; `owners` are ascending.

    >>> side_by_side(np.array([7, 8, 9]), np.array([0, 0, 2]), rows=3, width=2).tolist()
    [[7, 8], [0, 0], [9, 0]]
    """
    counts = np.bincount(owners, minlength=rows)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = places < width
    found = np.zeros((rows, width), dtype=np.int64)
    found[owners[kept], places[kept]] = ids[kept]
    return found
