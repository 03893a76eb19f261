"""DecayedCount: Space-Saving counters whose values halve with time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.kernels.compile import subkernel
from freshrank.actors.messages import Doubles, Ints
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
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields, Kind

# Events older than this, relative to the newest, are refused: each would add less than 2.4e-10.
_FORGOTTEN_HALF_LIVES = 32.0

_LN_2 = math.log(2.0)


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """Each id and its decayed count."""
    newest, at = moment
    begin, size, column = line[AT], line[SIZE], line[OUT]
    factor = math.exp(-_LN_2 * ((max(at, newest) - rows.longs[row, begin]) / line[SPAN]))
    for place in range(begin + 1, begin + 1 + size):
        out.ids[to, column] = rows.longs[row, place]
        out.id_weights[to, column] = rows.doubles[row, place + size] * factor
        column += 1


@subkernel
def _counter(longs: Ints, doubles: Doubles, row: int, entries: tuple[int, int], key: int) -> int:
    """The word of `key` among the entries (first word, number), else of the smallest counter."""
    begin, size = entries
    least = begin
    for place in range(begin, begin + size):
        if longs[row, place] == key:
            return place
        if doubles[row, place + size] < doubles[row, least + size]:
            least = place
    return least


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """The row has a reference time, ids, then their values as of the reference time."""
    doubles, longs, mask = rows.doubles, rows.longs, line[MASK]
    size, begin = line[SIZE], line[AT]
    rate = _LN_2 / line[SPAN]
    before = len(out.ids) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if key == 0 or (mask >= 0 and not events.masks[mask, i]):
            continue
        age = longs[row, begin] - at
        if age > _FORGOTTEN_HALF_LIVES * line[SPAN]:
            trace.refused[i] = True
            continue
        trace.taken[i] = True
        weight = math.exp(-rate * abs(age))
        if age < 0:
            for place in range(begin + 1 + size, begin + 1 + 2 * size):
                doubles[row, place] *= weight
            longs[row, begin] = at
            weight = 1.0
        place = _counter(longs, doubles, row, (begin + 1, size), key)
        longs[row, place] = key
        doubles[row, place + size] += weight


@dataclass(frozen=True)
class DecayedCount(Aggregate):
    """The `top` values of a field by exponentially decayed count, as a bag of weighted ids.

    An event adds 1, which halves every `half_life`. The counters are those of Space-Saving
    (Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data
    streams", ICDT 2005) with decayed weights (Cormode, Korn, Tirthapura: "Exponentially decayed
    aggregates on data streams", ICDE 2008): a value without a counter takes over the smallest
    one. So with ``N`` the decayed number of the entity's events, a counter is never too low, and
    too high by at most ``N / top``; a value whose true count exceeds ``N / top`` is among them;
    and with at most `top` distinct values all are exact. Decay is applied when read; an event
    that is more than 32 half-lives older than the newest adds less than 2.4e-10 and is refused.
    """

    by: str
    half_life: str
    top: int = field(default=8)
    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition, half-life or `top`."""
        fields.require(self.by, place, Kind.TEXT, Kind.INTEGER)
        check_where(self.where, fields, place)
        duration_ms(self.half_life, f"{place}.half_life")
        check_entries(self.top, f"{place}.top")

    def lay_out(self, name: str, layout: Layout) -> None:
        """A reference time, and two words an entry: id and value as of the reference time."""
        half_life_ms = duration_ms(self.half_life, name)
        line = Line(
            opcode=_DECAYED_COUNT.opcode,
            out=layout.bag_columns(name, self.by, self.top),
            size=self.top,
            mask=layout.mask(self.where),
            source=layout.key(self.by),
            span_ms=half_life_ms,
        )
        kept_ms = int(_FORGOTTEN_HALF_LIVES * half_life_ms)
        empty = np.zeros(1 + 2 * self.top, dtype=np.int64)
        layout.add(
            name,
            line,
            empty,
            kept_ms,
            f"exact up to {self.top} distinct values, "
            f"then at most 1/{self.top} of all events too high",
        )

    def canonical(self) -> str:
        """Field, half-life, number and condition."""
        half_life = duration_ms(self.half_life, "half_life")
        return f"decayed({self.by}; {half_life}; {self.top}; {self.where})"


_DECAYED_COUNT = Operation(5, _update, _read)

OPERATIONS = (_DECAYED_COUNT,)
