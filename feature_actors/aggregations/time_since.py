"""TimeSince: one word, the time of the newest event that meets the condition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    MASK,
    OUT,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    RowViews,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout, Line
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields

_NEVER = -1  # the time of an event that never was


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """Seconds, or NaN."""
    newest, at = moment
    last = rows.longs[row, line[AT]]
    seconds = (max(at, newest) - last) / 1000.0 if last != _NEVER else math.nan
    out.values[to, line[OUT]] = seconds


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then keep the newer time. An older time changes nothing, unrefused."""
    longs, begin, mask = rows.longs, line[AT], line[MASK]
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at = events.slots[i], events.times[i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if mask >= 0 and not events.masks[mask, i]:
            continue
        if at > longs[row, begin]:
            longs[row, begin] = at
            trace.taken[i] = True


@dataclass(frozen=True)
class TimeSince(Aggregate):
    """Seconds since the newest event (that meets `where`); NaN when there never was one."""

    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition."""
        check_where(self.where, fields, place)

    def lay_out(self, name: str, layout: Layout) -> None:
        """One word: the time of that event."""
        line = Line(_TIME_SINCE.opcode, layout.number_column(name), mask=layout.mask(self.where))
        layout.add(name, line, np.array([_NEVER]), keeps_ms=None)

    def canonical(self) -> str:
        """The condition."""
        return f"time_since({self.where})"


_TIME_SINCE = Operation(3, _update, _read)

OPERATIONS = (_TIME_SINCE,)
