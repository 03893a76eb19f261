"""Variance and StandardDeviation over sliding windows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import inlined
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.kernel_types import AT, SIZE, RowViews
from freshrank.feature_actors.aggregations.windowed.rings import (
    Combine,
    Tiles,
    count_tiles,
    window_operation,
)
from freshrank.feature_actors.aggregations.windowed.sums import OverField

# The third ring of a window.
_COUNTS = count_tiles(skipped=2)
_clear_count, _update_count, _merge_counts = _COUNTS.clear, _COUNTS.update, _COUNTS.merge


def _identity(tiles: int) -> Ints:
    return np.concatenate([np.zeros(2 * tiles, dtype=np.int64), _COUNTS.identity(tiles)])


@inlined
def _clear(rows: RowViews, row: int, line: Ints, place: int) -> None:
    rows.doubles[row, line[AT] + place] = 0.0
    rows.doubles[row, line[AT] + line[SIZE] + place] = 0.0
    _clear_count(rows, row, line, place)


@inlined
def _update(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
    _update_count(rows, row, line, place, number)
    events = _merge_counts(rows, row, line, place, place)
    mean = line[AT] + place
    away = number - rows.doubles[row, mean]
    rows.doubles[row, mean] += away / events
    rows.doubles[row, mean + line[SIZE]] += away * (number - rows.doubles[row, mean])


def moment_tiles(result: Combine) -> Tiles:
    """Three rings: the means of the tiles, their squared distances from it, and their counts.

    A number moves its tile by Welford's update ("Note on a method for calculating corrected sums
    of squares and products", Technometrics 1962), and tiles are merged by the formula of Chan,
    Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances",
    1979). Sums of squares would lose all digits of numbers that lie far from 0 and near each other.

    `result`, which is `inlined`, makes the value of a window from the sum of the squared distances
    and the number of values, which is not 0.
    """

    @inlined
    def merge(rows: RowViews, row: int, line: Ints, first: int, last: int) -> float:
        size = line[SIZE]
        total, mean, squares = 0.0, 0.0, 0.0
        for tile in range(first, last + 1):
            events = _merge_counts(rows, row, line, tile, tile)
            if events > 0.0:
                place = line[AT] + tile % size
                away = rows.doubles[row, place] - mean
                squares += rows.doubles[row, place + size]
                squares += away * away * (total * events / (total + events))
                total += events
                mean += away * (events / total)
        return result(squares, total) if total > 0.0 else math.nan

    return Tiles(_identity, _clear, _update, merge)


@inlined
def _variance(squares: float, events: float) -> float:
    return squares / events


@inlined
def _deviation(squares: float, events: float) -> float:
    return math.sqrt(squares / events)


@dataclass(frozen=True)
class Variance(OverField):
    """The variance of a numeric field in each window: the mean squared distance from the mean.

    It is that of the population, the sum of the squares divided by the number of values. None is
    passed over; 0 for one value; NaN where the window holds none.
    """

    verb = "variance"
    tiles = moment_tiles(_variance)
    operation = window_operation(8, tiles, of_field=True)


@dataclass(frozen=True)
class StandardDeviation(OverField):
    """The square root of `Variance`, in the unit of the field."""

    verb = "deviation"
    tiles = moment_tiles(_deviation)
    operation = window_operation(9, tiles, of_field=True)


OPERATIONS = (Variance.operation, StandardDeviation.operation)
