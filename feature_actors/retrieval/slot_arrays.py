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
