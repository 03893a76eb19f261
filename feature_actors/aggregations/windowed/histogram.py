"""Histogram over windows: the share of each range of a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    OUT,
    PARAMETERS,
    SIZE,
    FeatureBlock,
    Moment,
    RowViews,
)
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.rings import (
    counter_words,
    reach,
    ring_operation,
)
from freshrank.feature_actors.aggregations.windowed.windows import (
    OverWindows,
    Tumbling,
    Window,
    canonical_windows,
    parse_windows,
)
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.derived import bucket, check_boundaries
from freshrank.feature_actors.streams.expressions.numbers import Numeric, number_of
from freshrank.feature_actors.streams.fields import Fields


@inlined
def clear_buckets(rows: RowViews, row: int, line: Ints, place: int) -> None:
    """Empty the counts of a tile; the first parameter of the line is their number."""
    buckets = int(line[PARAMETERS:].view(np.float64)[0])
    if line[SIZE] == 1:
        for counter in range(line[AT], line[AT] + buckets):
            rows.longs[row, counter] = 0
        return
    begin = 2 * line[AT] + place * buckets
    for counter in range(begin, begin + buckets):
        rows.shorts[row, counter] = 0


@inlined
def count_in_bucket(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
    """Count an event in bucket `number` of a tile."""
    if line[SIZE] == 1:
        rows.longs[row, line[AT] + int(number)] += 1
        return
    buckets = int(line[PARAMETERS:].view(np.float64)[0])
    rows.shorts[row, 2 * line[AT] + place * buckets + int(number)] += 1


@subkernel
def count_of_bucket(rows: RowViews, row: int, line: Ints, kind: int, tiles: tuple[int, int]) -> int:
    """The count of bucket `kind` in the tiles numbered first to last."""
    first, last = tiles
    size, count = line[SIZE], 0
    if size == 1:
        return rows.longs[row, line[AT] + kind] if first <= last else 0
    buckets = int(line[PARAMETERS:].view(np.float64)[0])
    for tile in range(first, last + 1):
        count += rows.shorts[row, 2 * line[AT] + tile % size * buckets + kind]
    return count


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """A column a bucket: its count, or its share of all."""
    constants = line[PARAMETERS:].view(np.float64)
    buckets, shares = int(constants[0]), constants[1] > 0.0
    tiles = reach(line, moment)
    total, column = 0, line[OUT]
    for kind in range(buckets):
        count = count_of_bucket(rows, row, line, kind, tiles)
        out.values[to, column + kind] = count
        total += count
    if shares:
        for place in range(column, column + buckets):
            out.values[to, place] = out.values[to, place] / total if total > 0 else math.nan


@dataclass(frozen=True)
class Histogram(OverWindows):
    """The share of the values of a number that lie in each range, in each window.

    `boundaries` ascend and part the numbers: with 10 and 50 there are the buckets 0 (below 10), 1
    (from 10 to below 50) and 2 (50 and above). ``prices = Histogram("price", boundaries=[10, 50],
    windows=["1d"])`` gives the columns ``prices_1d_0``, ``prices_1d_1`` and ``prices_1d_2``. Of the
    prices 5, 20, 20 and 70 they are 0.25, 0.5 and 0.25.

    Exact but for the hop of the window. None is passed over; NaN where the window holds no value.
    4 bytes a bucket and tile, which are 13 of a sliding window unless `hop` is given.

    Parameters
    ----------
    of
        A numeric field or a calculation.
    boundaries
        At most 255, each greater than the one before.
    shares
        False gives counts, which are 0 where the window holds no value.
    """

    of: Numeric
    boundaries: Sequence[float]
    windows: Sequence[str | Tumbling] = ()
    where: Expression | None = None
    shares: bool = True
    hop: str | None = None
    delay: str | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, boundaries, condition or window."""
        number_of(self.of).check(fields, place)
        check_boundaries(self.boundaries, f"{place}.boundaries")
        check_where(self.where, fields, place)
        parse_windows(self.windows, self.hop, place, self.delay)

    def lay_out(self, name: str, layout: Layout) -> None:
        """For each window a ring whose tiles hold a count a bucket."""
        buckets = len(self.boundaries) + 1
        for window in self._windows():
            prefix = f"{name}_{window.text}"
            columns = [layout.number_column(f"{prefix}_{one}") for one in range(buckets)]
            line = replace(
                window.line(_HISTOGRAM.opcode, columns[0]),
                mask=layout.mask(self.where),
                source=layout.number(bucket(self.of, self.boundaries)),
                parameters=(float(buckets), float(self.shares)),
            )
            empty = np.zeros(counter_words(window.tiles, buckets), dtype=np.int64)
            layout.add(prefix, line, empty, window.keeps_ms)

    def canonical(self) -> str:
        """Field, boundaries, condition, windows and hops."""
        number, windows = bucket(self.of, self.boundaries), canonical_windows(self._windows())
        return f"histogram({number}; {self.where}; {self.shares}; {windows})"

    def _windows(self) -> tuple[Window, ...]:
        return parse_windows(self.windows, self.hop, "Histogram", self.delay)


_HISTOGRAM = ring_operation(18, (clear_buckets, count_in_bucket), _read, of_field=True)

OPERATIONS = (_HISTOGRAM,)
