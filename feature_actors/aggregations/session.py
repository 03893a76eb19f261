"""Session: the events of an entity between two pauses."""

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
from freshrank.feature_actors.streams.fields import Fields

# The words: how many sessions there were; of the newest one the times of its first and its last
# event, and the number of its events.
_COUNT, _FIRST, _LAST, _DEPTH, _WORDS = 0, 1, 2, 3, 4


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """Sessions so far, then depth, length and idle time as of the moment."""
    newest, at = moment
    begin, column = line[AT], line[OUT]
    count, first = rows.longs[row, begin + _COUNT], rows.longs[row, begin + _FIRST]
    idle_ms = max(at, newest) - rows.longs[row, begin + _LAST]
    on = count > 0 and idle_ms <= line[SPAN]
    length_ms = rows.longs[row, begin + _LAST] - first
    out.values[to, column] = count
    out.values[to, column + 1] = rows.longs[row, begin + _DEPTH] if on else 0.0
    out.values[to, column + 2] = length_ms / 1000.0 if on else 0.0
    out.values[to, column + 3] = idle_ms / 1000.0 if count > 0 else math.nan


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then add the event to the newest session, or begin one with it."""
    longs, begin, gap, mask = rows.longs, line[AT], line[SPAN], line[MASK]
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at = events.slots[i], events.times[i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if mask >= 0 and not events.masks[mask, i]:
            continue
        if longs[row, begin + _COUNT] == 0 or at > longs[row, begin + _LAST] + gap:
            longs[row, begin + _COUNT] += 1
            longs[row, begin + _FIRST] = at
            longs[row, begin + _LAST] = at
            longs[row, begin + _DEPTH] = 1
        elif at < longs[row, begin + _FIRST] - gap:
            trace.refused[i] = True
            continue
        else:
            longs[row, begin + _FIRST] = min(at, longs[row, begin + _FIRST])
            longs[row, begin + _LAST] = max(at, longs[row, begin + _LAST])
            longs[row, begin + _DEPTH] += 1
        trace.taken[i] = True


@dataclass(frozen=True)
class Session(Aggregate):
    """The sessions of an entity: runs of events with no pause longer than `gap`.

    ``visit = Session(gap="30m")`` gives four columns: ``visit_count``, the sessions so far, with
    the one that is on; ``visit_depth``, the number of events in the one that is on;
    ``visit_length``, the seconds from its first to its last event; ``visit_idle``, the seconds
    since the last event (NaN before there was one). With events at 12:00, 12:10 and 14:00 they are
    2, 1, 0 and 60 at 14:01.

    A session is over as soon as `gap` has passed at the time of the read, whether or not another
    event came: depth and length are 0 then. An event that comes late joins the newest session if
    no longer a pause than `gap` is between them; one of an earlier session is refused. Two sessions
    stay two where a late event comes between them. 32 bytes.

    Parameters
    ----------
    gap
        The longest pause within a session.
    where
        Which events count.
    """

    gap: str
    where: Expression | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition or gap."""
        check_where(self.where, fields, place)
        duration_ms(self.gap, f"{place}.gap")

    def lay_out(self, name: str, layout: Layout) -> None:
        """Four words, and a column for each of count, depth, length and idle time."""
        parts = ("count", "depth", "length", "idle")
        columns = [layout.number_column(f"{name}_{part}") for part in parts]
        line = Line(
            opcode=_SESSION.opcode,
            out=columns[0],
            mask=layout.mask(self.where),
            span_ms=duration_ms(self.gap, name),
        )
        layout.add(name, line, np.zeros(_WORDS, dtype=np.int64), keeps_ms=None)

    def canonical(self) -> str:
        """Gap and condition."""
        return f"session({duration_ms(self.gap, 'gap')}; {self.where})"


_SESSION = Operation(20, _update, _read)

OPERATIONS = (_SESSION,)
