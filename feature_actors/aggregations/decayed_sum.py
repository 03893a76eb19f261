"""DecayedSum and DecayedMean: numbers whose weights halve with time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from freshrank.actors.kernels.compile import subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    INPUT,
    MASK,
    OUT,
    SPAN,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    Read,
    RowViews,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout, Line
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.expressions.numbers import Numeric, number_of
from freshrank.feature_actors.streams.fields import Fields

# Events older than this, relative to the newest, are refused: each would weigh less than 2.4e-10.
_FORGOTTEN_HALF_LIVES = 32.0

_LN_2 = math.log(2.0)

# Words of a row: a reference time, and as of it the sum of the weighted numbers and of the weights.
_TIME, _TOTAL, _WEIGHT, _WORDS = 0, 1, 2, 3


@subkernel
def _read_sum(
    line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int
) -> None:
    """The sum, decayed from its reference time to the moment; 0 for nothing."""
    newest, at = moment
    age = max(at, newest) - rows.longs[row, line[AT] + _TIME]
    total = rows.doubles[row, line[AT] + _TOTAL]
    out.values[to, line[OUT]] = total * math.exp(-_LN_2 * (age / line[SPAN]))


@subkernel
def _read_mean(
    line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int
) -> None:
    """The weighted mean, which time alone does not change; NaN for nothing."""
    begin = line[AT]
    weight = rows.doubles[row, begin + _WEIGHT]
    mean = rows.doubles[row, begin + _TOTAL] / weight if weight > 0.0 else math.nan
    out.values[to, line[OUT]] = mean


def _operation(opcode: int, read: Read) -> Operation:
    """The loops of an aggregate that reads the words so."""

    @subkernel
    def update(
        line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
    ) -> None:
        """Read if wanted, decay to the newer time, and add the weighted number."""
        doubles, longs, begin, mask = rows.doubles, rows.longs, line[AT], line[MASK]
        before = len(out.values) > 0
        for i in range(len(trace.newest)):
            row, at, number = events.slots[i], events.times[i], events.numbers[line[INPUT], i]
            if before:
                read(line, rows, row, (trace.newest[i], at), out, i)
            if math.isnan(number) or (mask >= 0 and not events.masks[mask, i]):
                continue
            age = longs[row, begin + _TIME] - at
            if age > _FORGOTTEN_HALF_LIVES * line[SPAN]:
                trace.refused[i] = True
                continue
            trace.taken[i] = True
            weight = math.exp(-_LN_2 * (abs(age) / line[SPAN]))
            if age < 0:
                doubles[row, begin + _TOTAL] *= weight
                doubles[row, begin + _WEIGHT] *= weight
                longs[row, begin + _TIME] = at
                weight = 1.0
            doubles[row, begin + _TOTAL] += weight * number
            doubles[row, begin + _WEIGHT] += weight

    return Operation(opcode, update, read)


@dataclass(frozen=True)
class _Decayed(Aggregate):
    """One number a row, of a numeric field or a calculation; None is passed over."""

    of: Numeric
    half_life: str
    where: Expression | None = None

    verb: ClassVar[str]
    """Its name in the canonical spelling, which is part of fingerprints."""
    operation: ClassVar[Operation]

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition or half-life."""
        number_of(self.of).check(fields, place)
        check_where(self.where, fields, place)
        duration_ms(self.half_life, f"{place}.half_life")

    def lay_out(self, name: str, layout: Layout) -> None:
        """Three words: a reference time, and the sums of numbers and of weights as of it."""
        half_life_ms = duration_ms(self.half_life, name)
        line = Line(
            opcode=self.operation.opcode,
            out=layout.number_column(name),
            mask=layout.mask(self.where),
            source=layout.number(number_of(self.of)),
            span_ms=half_life_ms,
        )
        kept_ms = int(_FORGOTTEN_HALF_LIVES * half_life_ms)
        layout.add(name, line, np.zeros(_WORDS, dtype=np.int64), kept_ms)

    def canonical(self) -> str:
        """Field, half-life and condition."""
        half_life = duration_ms(self.half_life, "half_life")
        return f"{self.verb}({number_of(self.of)}; {half_life}; {self.where})"


class DecayedSum(_Decayed):
    """The sum of a numeric field, in which each value weighs half as much every `half_life`.

    Decay is applied when read; 0 for nothing. Each number is multiplied by
    ``2 ** (-age / half_life)`` (Cormode, Korn, Tirthapura: "Exponentially decayed aggregates on
    data streams", ICDE 2008). An event that is more than 32 half-lives older than the newest weighs
    less than 2.4e-10 and is refused.
    """

    verb = "decayed_sum"
    operation = _operation(10, _read_sum)


class DecayedMean(_Decayed):
    """The mean of a numeric field with the weights of `DecayedSum`; NaN for nothing."""

    verb = "decayed_mean"
    operation = _operation(11, _read_mean)


OPERATIONS = (DecayedSum.operation, DecayedMean.operation)
