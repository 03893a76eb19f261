"""DistinctCount: the values that were seen last, and when; beyond them an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.base import check_entries, check_where
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    INPUT,
    MASK,
    OUT,
    PARAMETERS,
    SIZE,
    SPAN,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    Read,
    RowViews,
    Trace,
)
from freshrank.feature_actors.aggregations.row_layout import Layout
from freshrank.feature_actors.aggregations.windowed.hyperloglog import (
    REGISTERS_IN_WORD,
    add_id,
    estimate,
    registers_for,
)
from freshrank.feature_actors.aggregations.windowed.rings import reach, tile_of
from freshrank.feature_actors.aggregations.windowed.windows import (
    OverWindows,
    Tumbling,
    Window,
    parse_windows,
)
from freshrank.feature_actors.streams.expressions.conditions import Expression
from freshrank.feature_actors.streams.fields import Fields, Kind

# Of an estimate: a better one takes 50 kB a window, and a worse one is none.
_ERRORS = (0.03, 0.25)


@inlined
def _oldest(line: Ints, at: int) -> int:
    """The oldest that counts as of `at`, on the scale of `_on_scale`."""
    oldest: int = _on_scale(line, at) - line[SPAN]
    return oldest


@inlined
def _on_scale(line: Ints, at: int) -> int:
    """A time as windows compare it: itself, and its tile where the window does not slide."""
    place: int = at
    if line[SPAN] == 0:
        place = tile_of(line, at)
    return place


@subkernel
def _read(line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int) -> None:
    """The number of entries whose time is within the window."""
    newest, at = moment
    begin, size = line[AT], line[SIZE]
    oldest, found = _oldest(line, max(at, newest)), 0
    for place in range(begin, begin + size):
        if rows.longs[row, place] != 0:
            found += _on_scale(line, rows.longs[row, place + size]) >= oldest
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


@inlined
def _keep(longs: Ints, row: int, line: Ints, key: int, at: int) -> None:
    """Keep the time of a value, if it is among the last."""
    size: int = line[SIZE]
    place = _entry(longs, row, line, key)
    kept, last = longs[row, place], longs[row, place + size]
    if kept == 0 or at > last or (at == last and key > kept):
        longs[row, place] = key
        longs[row, place + size] = at


@inlined
def _sketch(line: Ints, moment: Moment) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """The first word and the registers of the ring of sketches; its tiles, and those in reach."""
    constants = line[PARAMETERS:].view(np.float64)
    first, last = reach(line, moment)
    begins = line[AT] + 2 * line[SIZE], int(constants[0])
    return begins, (int(constants[1]), first, last)


@subkernel
def _read_estimate(
    line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int
) -> None:
    """As `_read`, but as many as the sketches say where all entries are within the window."""
    _read(line, rows, row, moment, out, to)
    most = float(line[SIZE])
    if out.values[to, line[OUT]] == most:
        begins, ring = _sketch(line, moment)
        out.values[to, line[OUT]] = max(most, estimate(rows.longs, row, begins, ring))


@subkernel
def _clear_sketches(longs: Ints, row: int, line: Ints, moment: Moment) -> None:
    """Empty the sketches of the tiles that come into reach."""
    (begin, registers), (tiles, _, head) = _sketch(line, moment)
    words, tile = registers // REGISTERS_IN_WORD, tile_of(line, moment[1])
    for coming in range(max(head + 1, tile - tiles + 1), tile + 1):
        place = begin + coming % tiles * words
        for word in range(place, place + words):
            longs[row, word] = 0


@subkernel
def _count_in_sketch(longs: Ints, row: int, line: Ints, moment: Moment, key: int) -> None:
    """Count a value in the sketch of its tile."""
    (begin, registers), (tiles, _, _) = _sketch(line, moment)
    tile = tile_of(line, moment[1])
    place = begin + tile % tiles * (registers // REGISTERS_IN_WORD)
    add_id(longs, row, place, registers, key)


def _operation(opcode: int, read: Read, *, with_sketches: bool) -> Operation:
    """The loops over the values that were seen last, and over sketches of all beside them."""

    @subkernel
    def update(
        line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
    ) -> None:
        """Read if wanted, then keep the newest time of the value, if it is among the last."""
        longs, mask = rows.longs, line[MASK]
        before = len(out.values) > 0
        for i in range(len(trace.newest)):
            row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
            moment = (trace.newest[i], at)
            if before:
                read(line, rows, row, moment, out, i)
            if with_sketches:
                _clear_sketches(longs, row, line, moment)
            if key == 0 or (mask >= 0 and not events.masks[mask, i]):
                continue
            if _on_scale(line, at) < _oldest(line, trace.newest[i]):
                trace.refused[i] = True
                continue
            trace.taken[i] = True
            _keep(longs, row, line, key, at)
            if with_sketches:
                _count_in_sketch(longs, row, line, moment, key)

    return Operation(opcode, update, read)


@dataclass(frozen=True)
class DistinctCount(OverWindows):
    """The number of different values of a text or integer field in each window.

    Exact up to `most` values, at both ends of the window; where there are more, the value is
    `most`, or an estimate where an `error` is given. Kept are the `most` values that were seen
    last, 16 bytes each and window; for the estimate also 13 sketches a sliding window, and one of
    any other, of ``(1.04 / error)²`` bytes each: 128 for an error of 0.1. None is passed over.

    Gives one column a window: ``genres = DistinctCount("genre", windows=["1d"])`` is ``genres_1d``.
    """

    of: str
    windows: Sequence[str | Tumbling] = ()
    most: int = 32
    where: Expression | None = None
    error: float | None = None
    """Standard error of the estimate (HyperLogLog), relative; then the window slides in twelfths of
    itself for it. None: more than `most` count as `most`."""

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for a wrong field, condition, window or `most`."""
        fields.require(self.of, place, Kind.TEXT, Kind.INTEGER)
        check_where(self.where, fields, place)
        for index, window in enumerate(parse_windows(self.windows, None, place)):
            if window.previous:
                raise ConfigError(
                    f"{place}.windows[{index}]",
                    f"{self.windows[index]!r} is over, and a value that came again since is kept "
                    "with its last time only",
                    "Count distinct values of the current window.",
                )
        check_entries(self.most, f"{place}.most")
        if self.error is not None:
            low, high = _ERRORS
            if not isinstance(self.error, int | float) or not low <= self.error <= high:
                raise ConfigError(
                    f"{place}.error",
                    f"{self.error!r} is not between {low} and {high}",
                    "Take e.g. 0.1, or None where more than `most` need not be told apart.",
                )

    def lay_out(self, name: str, layout: Layout) -> None:
        """For each window two words an entry: id and newest event time."""
        for window in self._windows():
            column = f"{name}_{window.text}"
            line = replace(
                window.line(_DISTINCT_COUNT.opcode, layout.number_column(column)),
                size=self.most,
                mask=layout.mask(self.where),
                source=layout.key(self.of),
                exact=True,
            )
            words, more = 2 * self.most, f"more count as {self.most}"
            if self.error is not None:
                registers = registers_for(self.error)
                constants = (float(registers), float(window.tiles))
                line = replace(
                    line,
                    opcode=_DISTINCT_ESTIMATE.opcode,
                    parameters=constants,
                    exact=not window.slides,
                )
                words += window.tiles * registers // REGISTERS_IN_WORD
                more = f"more within {self.error:.2g} (standard error)"
            error = f"exact up to {self.most} distinct values, {more}"
            keeps_ms = window.length_ms if window.slides else window.keeps_ms
            layout.add(column, line, np.zeros(words, dtype=np.int64), keeps_ms, error)

    def canonical(self) -> str:
        """Field, number, condition and windows."""
        spans = ", ".join(
            f"{one.length_ms}" if one.slides else one.canonical for one in self._windows()
        )
        error = "" if self.error is None else f"; {float(self.error)}"
        return f"distinct({self.of}; {self.most}; {self.where}; {spans}{error})"

    def _windows(self) -> tuple[Window, ...]:
        return parse_windows(self.windows, None, "DistinctCount")


_DISTINCT_COUNT = _operation(14, _read, with_sketches=False)
_DISTINCT_ESTIMATE = _operation(21, _read_estimate, with_sketches=True)

OPERATIONS = (_DISTINCT_COUNT, _DISTINCT_ESTIMATE)
