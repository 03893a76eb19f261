"""DistinctCount: the values that were seen last, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_entries, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    INPUT,
    MASK,
    OUT,
    SIZE,
    SPAN,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    RowViews,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout, Line
from freshrank.feature_actors.aggregations.windowed.windows import parse_windows
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields, Kind


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """The number of entries whose time is within the window."""
    newest, at = moment
    begin, size = line[AT], line[SIZE]
    oldest, found = max(at, newest) - line[SPAN], 0
    for place in range(begin, begin + size):
        if rows.longs[row, place] != 0 and rows.longs[row, place + size] >= oldest:
            found += 1
    out.values[to, line[OUT]] = float(found)


@inlined
def _entry(longs: Ints, row: int, line: Ints, key: int) -> int:
    """The word of `key`, else of the entry that it replaces: an empty one, else the oldest.

    Of equal times the smaller id goes, so that the entries depend on the events alone and not on
    their order.
    """
    begin: int = line[AT]
    size: int = line[SIZE]
    oldest = begin
    for place in range(begin, begin + size):
        if longs[row, place] == key or longs[row, place] == 0:
            return place
        older = longs[row, place + size] < longs[row, oldest + size]
        equal = longs[row, place + size] == longs[row, oldest + size]
        if older or (equal and longs[row, place] < longs[row, oldest]):
            oldest = place
    return oldest


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then keep the newest time of the value, if it is among the last."""
    longs, size, mask = rows.longs, line[SIZE], line[MASK]
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if key == 0 or (mask >= 0 and not events.masks[mask, i]):
            continue
        if at < trace.newest[i] - line[SPAN]:
            trace.refused[i] = True
            continue
        trace.taken[i] = True
        place = _entry(longs, row, line, key)
        kept, last = longs[row, place], longs[row, place + size]
        if kept == 0 or at > last or (at == last and key > kept):
            longs[row, place] = key
            longs[row, place + size] = at


@dataclass(frozen=True)
class DistinctCount(Aggregate):
    """The number of different values of a text or integer field in each window.

    Exact up to `most` values, at both ends of the window; where there are more, the value is
    `most`. Kept are the `most` values that were seen last, 16 bytes each and window. None is passed
    over.

    Gives one column a window: ``genres = DistinctCount("genre", windows=["1d"])`` is ``genres_1d``.
    """

    of: str
    windows: Sequence[str] = ()
    most: int = 32
    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition, window or `most`."""
        fields.require(self.of, place, Kind.TEXT, Kind.INTEGER)
        check_where(self.where, fields, place)
        parse_windows(self.windows, None, place)
        check_entries(self.most, f"{place}.most")

    def lay_out(self, name: str, layout: Layout) -> None:
        """For each window two words an entry: id and newest event time."""
        for window in parse_windows(self.windows, None, name):
            column = f"{name}_{window.text}"
            line = Line(
                opcode=_DISTINCT_COUNT.opcode,
                out=layout.number_column(column),
                size=self.most,
                mask=layout.mask(self.where),
                source=layout.key(self.of),
                span_ms=window.length_ms,
            )
            empty = np.zeros(2 * self.most, dtype=np.int64)
            error = f"exact up to {self.most} distinct values, more count as {self.most}"
            layout.add(column, line, empty, window.length_ms, error)

    def canonical(self) -> str:
        """Field, number, condition and windows."""
        spans = ", ".join(
            f"{one.length_ms}" for one in parse_windows(self.windows, None, "windows")
        )
        return f"distinct({self.of}; {self.most}; {self.where}; {spans})"


_DISTINCT_COUNT = Operation(14, _update, _read)

OPERATIONS = (_DISTINCT_COUNT,)
