"""Trend: the rate of events in a short window over that in a long one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import Aggregate, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    DELAY,
    HOP,
    MASK,
    OUT,
    PARAMETERS,
    SIZE,
    SPAN,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    RowViews,
    Shorts,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout, Line
from freshrank.feature_actors.aggregations.windowed.rings import quotient
from freshrank.feature_actors.aggregations.windowed.windows import (
    DEFAULT_HOPS,
    Window,
    sliding_window,
)
from freshrank.feature_actors.streams.durations import duration_ms
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields

# The entries of a line beside those of the long window: the short window's length and the prior.
_SHORT, _PRIOR = PARAMETERS, PARAMETERS + 1

# The ring of the short window begins on the next whole word behind that of the long one.
_Ring = tuple[int, int, int]
"""First int32 of a row, number of tiles, hop in ms."""


@inlined
def _rings(line: Ints) -> tuple[_Ring, _Ring]:
    """The rings of the short and of the long window."""
    begin, size = 2 * line[AT], line[SIZE]
    short_hop = (int(line[_SHORT:].view(np.float64)[0]) + DEFAULT_HOPS - 1) // DEFAULT_HOPS
    return (begin + size + size % 2, size, short_hop), (begin, size, line[HOP])


@subkernel
def _events(shorts: Shorts, row: int, ring: _Ring, window: tuple[int, int], moment: Moment) -> int:
    """The number of events in a window, given by its length and delay in ms."""
    (begin, size, hop), (span, delay), (newest, at) = ring, window, moment
    total, inverse = 0, 1.0 / hop
    end = max(at, newest) - delay
    last = quotient(newest, hop, inverse)
    if delay > 0:
        last = min(last, quotient(max(end, 0), hop, inverse) - 1)
    for tile in range(quotient(max(end - span, 0), hop, inverse), last + 1):
        total += shorts[row, begin + tile % size]
    return total


@subkernel
def _advance(shorts: Shorts, row: int, ring: _Ring, moment: Moment) -> int:
    """Empty the tiles that come into reach; the place of the event's tile, -1 if out of reach."""
    newest, at = moment
    begin, size, hop = ring
    inverse = 1.0 / hop
    tile, head = quotient(at, hop, inverse), quotient(newest, hop, inverse)
    for coming in range(max(head + 1, tile - size + 1), tile + 1):
        shorts[row, begin + coming % size] = 0
    return begin + tile % size if tile > head - size else -1


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """The quotient of the rates, with the prior in both."""
    short_ring, long_ring = _rings(line)
    constants = line[_SHORT:].view(np.float64)
    span, prior = constants[0], constants[1]
    delay = line[DELAY]
    recent = _events(rows.shorts, row, short_ring, (int(span), delay), moment)
    usual = _events(rows.shorts, row, long_ring, (line[SPAN], delay), moment)
    out.values[to, line[OUT]] = (recent + prior) / (usual * (span / line[SPAN]) + prior)


@subkernel
def _update(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then count the event in both rings, as far as they reach it."""
    shorts, mask = rows.shorts, line[MASK]
    short_ring, long_ring = _rings(line)
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at, newest = events.slots[i], events.times[i], trace.newest[i]
        if before:
            _read(line, rows, row, (newest, at), out, i)
        recent = _advance(shorts, row, short_ring, (newest, at))
        usual = _advance(shorts, row, long_ring, (newest, at))
        if mask >= 0 and not events.masks[mask, i]:
            continue
        if usual < 0:
            trace.refused[i] = True
            continue
        trace.taken[i] = True
        shorts[row, usual] += 1
        if recent >= 0:
            shorts[row, recent] += 1


@dataclass(frozen=True)
class Trend(Aggregate):
    """How much more often events come now than usually: the rate in `short` over that in `long`.

    With ``s`` events in the short window and ``l`` in the long one it is
    ``(s + prior) / (l * short / long + prior)``: 1 for an entity without events or with a steady
    rate, and pulled to 1 while there are few. Both windows slide in hops of a twelfth of
    themselves, and so reach up to that too far back. Late events count in the windows that reach
    them, and leave both as time goes on. 112 bytes.

    ``rise = Trend(short="1h", long="12h")`` is the column ``rise``. With 9 of 12 events in the last
    hour it is (9 + 1) / (12 / 12 + 1) = 5.

    Parameters
    ----------
    short, long
        The lengths of the windows.
    where
        Which events count.
    prior
        As many events as both rates are given beforehand; greater than 0.
    delay
        How long before the time of a read both windows end, up to a hop of each earlier; the rings
        reach over it, in hops of the short window.
    """

    short: str
    long: str
    where: Expression | None = None
    prior: float = 1.0
    delay: str | None = None

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong condition, window or prior."""
        check_where(self.where, fields, place)
        short, long = self._windows(place)
        if short.length_ms >= long.length_ms:
            raise ConfigError(
                f"{place}.short",
                f"{self.short!r} is no shorter than {self.long!r}",
                'Take e.g. short="1h", long="7d".',
            )
        if not isinstance(self.prior, int | float) or not 0 < self.prior < math.inf:
            raise ConfigError(
                f"{place}.prior", f"{self.prior!r} is no number above 0", "Take e.g. 1."
            )

    def lay_out(self, name: str, layout: Layout) -> None:
        """Two rings of counts."""
        short, long = self._windows()
        tiles = max(short.tiles, long.tiles)
        line = Line(
            opcode=_TREND.opcode,
            out=layout.number_column(name),
            size=tiles,
            mask=layout.mask(self.where),
            hop_ms=long.hop_ms,
            span_ms=long.length_ms,
            delay_ms=long.delay_ms,
            whole=long.whole,
            parameters=(float(short.length_ms), float(self.prior)),
        )
        words = 2 * -(-tiles // 2)
        layout.add(name, line, np.zeros(words, dtype=np.int64), tiles * long.hop_ms)

    def canonical(self) -> str:
        """Condition, windows and prior."""
        short, long = self._windows()
        delay = f"; delay {long.delay_ms}" if long.delay_ms else ""
        return f"trend({self.where}; {short.length_ms}; {long.length_ms}; {self.prior!r}{delay})"

    def _windows(self, place: str = "Trend") -> tuple[Window, Window]:
        delay_ms = 0 if self.delay is None else duration_ms(self.delay, f"{place}.delay")
        short = sliding_window(self.short, None, (f"{place}.short", f"{place}.delay"), delay_ms)
        long = sliding_window(self.long, None, (f"{place}.long", f"{place}.delay"), delay_ms)
        return short, long


_TREND = Operation(17, _update, _read)

OPERATIONS = (_TREND,)
