"""Max and Min over sliding windows: a float64 a tile, NaN in a tile without a value."""

from __future__ import annotations

import math
from dataclasses import dataclass

from freshrank.actors.kernels.compile import inlined
from freshrank.feature_actors.aggregations.windowed.rings import number_tiles, window_operation
from freshrank.feature_actors.aggregations.windowed.sums import OverField


@inlined
def _larger(kept: float, number: float) -> float:
    """The larger of two numbers; where either is NaN, the other."""
    return number if math.isnan(kept) or number > kept else kept


@inlined
def _smaller(kept: float, number: float) -> float:
    return number if math.isnan(kept) or number < kept else kept


@dataclass(frozen=True)
class Max(OverField):
    """The largest value of a numeric field over each window.

    Gives one column a window: ``dearest = Max("price", windows=["1d"])`` is ``dearest_1d``. None
    is passed over; NaN where the window holds no value. At its old end a window reaches up to one
    hop too far back, as every window does.
    """

    verb = "max"
    tiles = number_tiles(math.nan, _larger)
    operation = window_operation(6, tiles, of_field=True)


@dataclass(frozen=True)
class Min(OverField):
    """The smallest value of a numeric field over each window; otherwise as `Max`."""

    verb = "min"
    tiles = number_tiles(math.nan, _smaller)
    operation = window_operation(7, tiles, of_field=True)


OPERATIONS = (Max.operation, Min.operation)
