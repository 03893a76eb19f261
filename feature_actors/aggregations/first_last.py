"""FirstValue and LastValue: a number and its event time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    INPUT,
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
from freshrank.feature_actors.streams.expressions.numbers import Numeric, number_of
from freshrank.feature_actors.streams.fields import Fields


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """The number, the same at any time; NaN for nothing."""
    out.values[to, line[OUT]] = rows.doubles[row, line[AT] + 1]


def _operation(opcode: int, last: bool) -> Operation:
    """The loops over a word of time and one of a number."""

    @inlined
    def replaces(at: int, kept: int) -> bool:
        return at >= kept if last else at < kept

    @subkernel
    def update(
        line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
    ) -> None:
        """Read if wanted, then keep the number of the event whose time says so, unrefused."""
        longs, doubles, begin, mask = rows.longs, rows.doubles, line[AT], line[MASK]
        before = len(out.values) > 0
        for i in range(len(trace.newest)):
            row, at, number = events.slots[i], events.times[i], events.numbers[line[INPUT], i]
            if before:
                _read(line, rows, row, (trace.newest[i], at), out, i)
            if math.isnan(number) or (mask >= 0 and not events.masks[mask, i]):
                continue
            if math.isnan(doubles[row, begin + 1]) or replaces(at, longs[row, begin]):
                longs[row, begin] = at
                doubles[row, begin + 1] = number
                trace.taken[i] = True

    return Operation(opcode, update, _read)


@dataclass(frozen=True)
class _AtOneEnd(Aggregate):
    """The value of a numeric field or a calculation in one event; None is passed over."""

    of: Numeric
    where: Expression | None = None

    verb: ClassVar[str]
    """Its name in the canonical spelling, which is part of fingerprints."""
    operation: ClassVar[Operation]

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field or condition."""
        number_of(self.of).check(fields, place)
        check_where(self.where, fields, place)

    def lay_out(self, name: str, layout: Layout) -> None:
        """Two words: the event's time and its number."""
        line = Line(
            opcode=self.operation.opcode,
            out=layout.number_column(name),
            mask=layout.mask(self.where),
            source=layout.number(number_of(self.of)),
        )
        layout.add(name, line, np.array([0.0, math.nan]).view(np.int64), keeps_ms=None)

    def canonical(self) -> str:
        """Field and condition."""
        return f"{self.verb}({number_of(self.of)}; {self.where})"


class FirstValue(_AtOneEnd):
    """The value of a numeric field in the oldest event by time (that meets `where`).

    Of events of one time that which came first; NaN when there never was one.
    """

    verb = "first"
    operation = _operation(12, last=False)


class LastValue(_AtOneEnd):
    """The value of a numeric field in the newest event by time (that meets `where`).

    Of events of one time that which came last; NaN when there never was one. `LastK` keeps the
    last values of a text or integer field, as ids.
    """

    verb = "last"
    operation = _operation(13, last=True)


OPERATIONS = (FirstValue.operation, LastValue.operation)
