"""LastK: ids newest first, then their event times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_entries, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    INPUT,
    MASK,
    OUT,
    SIZE,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    RowViews,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout, Line
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields, Kind


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """Each id weighs 1, at any time."""
    for place in range(line[SIZE]):
        key = rows.longs[row, line[AT] + place]
        out.ids[to, line[OUT] + place] = key
        out.id_weights[to, line[OUT] + place] = 0.0 if key == 0 else 1.0


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then insert. Of equal times the later arrival is the newer."""
    longs, size, keys, mask = rows.longs, line[SIZE], line[AT], line[MASK]
    times = keys + size
    before = len(out.ids) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if key == 0 or (mask >= 0 and not events.masks[mask, i]):
            continue
        place = size - 1
        if longs[row, keys + place] != 0 and at < longs[row, times + place]:
            trace.refused[i] = True
            continue
        trace.taken[i] = True
        while place > 0 and (
            longs[row, keys + place - 1] == 0 or longs[row, times + place - 1] <= at
        ):
            longs[row, keys + place] = longs[row, keys + place - 1]
            longs[row, times + place] = longs[row, times + place - 1]
            place -= 1
        longs[row, keys + place] = key
        longs[row, times + place] = at


@subkernel
def _update_distinct(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """As `_update`, but an id that is there already moves to its newer time."""
    longs, size, keys, mask = rows.longs, line[SIZE], line[AT], line[MASK]
    times = keys + size
    before = len(out.ids) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read(line, rows, row, (trace.newest[i], at), out, i)
        if key == 0 or (mask >= 0 and not events.masks[mask, i]):
            continue
        place = 0
        while place < size - 1 and longs[row, keys + place] not in (key, 0):
            place += 1
        if longs[row, keys + place] != 0 and at < longs[row, times + place]:
            # It is there with a newer time, or others that are all newer fill the row.
            trace.refused[i] = longs[row, keys + place] != key
            continue
        trace.taken[i] = True
        while place > 0 and longs[row, times + place - 1] <= at:
            longs[row, keys + place] = longs[row, keys + place - 1]
            longs[row, times + place] = longs[row, times + place - 1]
            place -= 1
        longs[row, keys + place] = key
        longs[row, times + place] = at


@dataclass(frozen=True)
class LastK(Aggregate):
    """The last `k` values of a text or integer field, newest event time first, as a bag of ids.

    An event that comes late is put where its time belongs. None is passed over. Without `repeats`
    the values are different ones, each at its newest time. A list that is not `learned` is no input
    of the model: it is there for people, and for sources of candidates.
    """

    of: str
    k: int
    where: Expression | None = None
    repeats: bool = True
    learned: bool = True

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition or `k`."""
        fields.require(self.of, place, Kind.TEXT, Kind.INTEGER)
        check_where(self.where, fields, place)
        check_entries(self.k, f"{place}.k")

    def lay_out(self, name: str, layout: Layout) -> None:
        """Two words an entry: id and event time."""
        line = Line(
            opcode=(_LAST_K if self.repeats else _LAST_K_DISTINCT).opcode,
            out=layout.bag_columns(name, self.of, self.k, learned=self.learned),
            size=self.k,
            mask=layout.mask(self.where),
            source=layout.key(self.of),
        )
        layout.add(name, line, np.zeros(2 * self.k, dtype=np.int64), keeps_ms=None)

    def canonical(self) -> str:
        """Field, number, condition and repeats."""
        verb = "last_k" if self.repeats else "last_k_distinct"
        return f"{verb}({self.of}; {self.k}; {self.where})"


_LAST_K = Operation(4, _update, _read)
_LAST_K_DISTINCT = Operation(15, _update_distinct, _read)

OPERATIONS = (_LAST_K, _LAST_K_DISTINCT)
