"""The compiled loops over entity rows. They call each other, so they share one module.

A row is ``words`` words of 8 bytes. Words 0 and 1 are the newest event time and the offset of
the last event applied. The rest belongs to *operations*: `program` int64[o, 8] holds one line for
each, whose entries are the constants below. A batch is given to one operation after the other,
each going through its events in order: tight loops, whose cache misses overlap.

A read as of a time before the newest event of the row is a read as of that event. Since every
ring of tiles is positioned by that newest event too, what a window gives depends on the events
alone, not on the order in which they came.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Doubles, Ints

Shorts: TypeAlias = NDArray[np.int32]


class RowViews(NamedTuple):
    """One memory of ``r`` rows, seen in three ways."""

    doubles: Doubles
    """float64[r, words]."""
    longs: Ints
    """int64[r, words]."""
    shorts: Shorts
    """int32[r, 2 * words]: the tiles of counts."""


class EventArrays(NamedTuple):
    """``n`` events as the kernels take them."""

    slots: Ints
    """int64[n]: the row of each."""
    times: Ints
    """int64[n], ms."""
    offsets: Ints
    """int64[n]."""
    masks: Bools
    """bool[m, n]: one line for each condition."""
    numbers: Doubles
    """float64[., n]: one line for each numeric column; NaN is passed over."""
    keys: Ints
    """int64[., n]: one line for each id column; 0 is passed over."""


class Trace(NamedTuple):
    """What becomes of each of ``n`` events: filled by `apply_events`."""

    newest: Ints
    """int64[n]: the newest event time of the row just before the event."""
    taken: Bools
    """bool[n]: some operation took it."""
    refused: Bools
    """bool[n]: some operation had to refuse it as too old."""
    late: Bools
    """bool[n]: refused and not taken."""


class FeatureBlock(NamedTuple):
    """The features of ``n`` rows: `c` numbers and `k` weighted ids each."""

    values: Doubles
    """float64[n, c]; NaN where a feature has no value (a mean of nothing, a time since never)."""
    ids: Ints
    """int64[n, k]; 0 where there is none."""
    id_weights: Doubles
    """float64[n, k]: 1 for each of the last k, the decayed count of each top id, 0 if absent."""


NEWEST, OFFSET, HEADER_WORDS = 0, 1, 2
"""The words that every row begins with, and their number."""

COUNT, SUM, MEAN, TIME_SINCE, LAST_K, DECAYED = 0, 1, 2, 3, 4, 5
"""Kinds of operation."""

KIND, AT, SIZE, MASK, INPUT, HOP, SPAN, OUT = 0, 1, 2, 3, 4, 5, 6, 7
"""Entries of a program line: kind; first word; number of tiles or entries; line of `masks` (-1:
every event); line of `numbers` or `keys`; hop in ms; window or half-life in ms; first column of
the output."""

PROGRAM_WIDTH = 8

FORGOTTEN_HALF_LIVES = 32.0
"""A decayed count refuses events older than this: each would add less than 2.4e-10."""

_LN_2 = math.log(2.0)


def blank_trace(events: int) -> Trace:
    """Room for the trace of some events."""
    flags = np.empty((3, events), dtype=np.bool_)
    return Trace(np.empty(events, dtype=np.int64), flags[0], flags[1], flags[2])


def views(rows: Doubles) -> RowViews:
    """The three views of C-contiguous rows float64[r, words]."""
    return RowViews(rows, rows.view(np.int64), rows.view(np.int32))


@lean_kernel
def _quotient(number: int, divisor: int, inverse: float) -> int:
    """``number // divisor``, given ``1 / divisor``: a third of the time of a division.

    Exact for 0 <= number < 2**53, where the product is off by less than one.
    """
    guess = int(number * inverse)
    rest = number - guess * divisor
    if rest < 0:
        return guess - 1
    if rest >= divisor:
        return guess + 1
    return guess


@lean_kernel
def _count_total(shorts: Shorts, row: int, begin: int, size: int, tiles: tuple[int, int]) -> int:
    """The sum over a ring of int32 tiles from `begin`: those numbered first to last."""
    total, place = 0, begin + tiles[0] % size
    for _ in range(tiles[0], tiles[1] + 1):
        total += shorts[row, place]
        place += 1
        if place == begin + size:
            place = begin
    return total


@lean_kernel
def _sum_total(doubles: Doubles, row: int, begin: int, size: int, tiles: tuple[int, int]) -> float:
    """The sum over a ring of float64 tiles."""
    total, place = 0.0, begin + tiles[0] % size
    for _ in range(tiles[0], tiles[1] + 1):
        total += doubles[row, place]
        place += 1
        if place == begin + size:
            place = begin
    return total


@lean_kernel
def _read_tiles(line: Ints, rows: RowViews, row: int, newest: int, when: int) -> float:
    """The value of a count, sum or mean as of `when` or `newest`, whichever is later."""
    kind, begin, size, hop = line[KIND], line[AT], line[SIZE], line[HOP]
    inverse = 1.0 / hop
    first = _quotient(max(max(when, newest) - line[SPAN], 0), hop, inverse)
    tiles = (first, _quotient(newest, hop, inverse))
    if kind == COUNT:
        return float(_count_total(rows.shorts, row, 2 * begin, size, tiles))
    total = _sum_total(rows.doubles, row, begin, size, tiles)
    if kind == SUM:
        return total
    events = _count_total(rows.shorts, row, 2 * (begin + size), size, tiles)
    return total / events if events > 0 else math.nan


@lean_kernel
def _apply_tiles(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Count, sum or mean: read if wanted, empty the tiles that come into reach, add."""
    doubles, shorts = rows.doubles, rows.shorts
    kind, size, hop, mask = line[KIND], line[SIZE], line[HOP], line[MASK]
    sums, counts = line[AT], 2 * (line[AT] + (size if kind == MEAN else 0))
    inverse = 1.0 / hop
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at, newest = events.slots[i], events.times[i], trace.newest[i]
        if before:
            out.values[i, line[OUT]] = _read_tiles(line, rows, row, newest, at)
        tile, head = _quotient(at, hop, inverse), _quotient(newest, hop, inverse)
        for coming in range(max(head + 1, tile - size + 1), tile + 1):
            place = coming % size
            if kind != SUM:
                shorts[row, counts + place] = 0
            if kind != COUNT:
                doubles[row, sums + place] = 0.0
        if mask >= 0 and not events.masks[mask, i]:
            continue
        number = 0.0 if kind == COUNT else events.numbers[line[INPUT], i]
        if math.isnan(number):
            continue
        if tile <= head - size:
            trace.refused[i] = True
            continue
        trace.taken[i] = True
        place = tile % size
        if kind != SUM:
            shorts[row, counts + place] += 1
        if kind != COUNT:
            doubles[row, sums + place] += number


@lean_kernel
def _read_time_since(line: Ints, rows: RowViews, row: int, newest: int, when: int) -> float:
    """Seconds, or NaN."""
    last = rows.longs[row, line[AT]]
    return (max(when, newest) - last) / 1000.0 if last >= 0 else math.nan


@lean_kernel
def _apply_time_since(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then keep the newer time: an older one is no news, and not refused."""
    longs, begin, mask = rows.longs, line[AT], line[MASK]
    before = len(out.values) > 0
    for i in range(len(trace.newest)):
        row, at = events.slots[i], events.times[i]
        if before:
            out.values[i, line[OUT]] = _read_time_since(line, rows, row, trace.newest[i], at)
        if mask >= 0 and not events.masks[mask, i]:
            continue
        if at > longs[row, begin]:
            longs[row, begin] = at
            trace.taken[i] = True


@lean_kernel
def _read_last_k(line: Ints, rows: RowViews, row: int, out: FeatureBlock, to: int) -> None:
    """Each id weighs 1."""
    for place in range(line[SIZE]):
        key = rows.longs[row, line[AT] + place]
        out.ids[to, line[OUT] + place] = key
        out.id_weights[to, line[OUT] + place] = 0.0 if key == 0 else 1.0


@lean_kernel
def _apply_last_k(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Read if wanted, then insert: keys newest first, then their times.

    Of equal times the later arrival is the newer.
    """
    longs, size, keys, mask = rows.longs, line[SIZE], line[AT], line[MASK]
    times = keys + size
    before = len(out.ids) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read_last_k(line, rows, row, out, i)
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


@lean_kernel
def _read_decayed(
    line: Ints, rows: RowViews, row: int, at: int, out: FeatureBlock, to: int
) -> None:
    """The decayed count of each id as of `at`, not before the newest event."""
    begin, size, column = line[AT], line[SIZE], line[OUT]
    factor = math.exp(-_LN_2 * ((at - rows.longs[row, begin]) / line[SPAN]))
    for place in range(begin + 1, begin + 1 + size):
        out.ids[to, column] = rows.longs[row, place]
        out.id_weights[to, column] = rows.doubles[row, place + size] * factor
        column += 1


@lean_kernel
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


@lean_kernel
def _apply_decayed(
    line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Space-saving with decay: reference time, keys, then values as of the reference time."""
    doubles, longs, mask = rows.doubles, rows.longs, line[MASK]
    size, begin = line[SIZE], line[AT]
    rate = _LN_2 / line[SPAN]
    before = len(out.ids) > 0
    for i in range(len(trace.newest)):
        row, at, key = events.slots[i], events.times[i], events.keys[line[INPUT], i]
        if before:
            _read_decayed(line, rows, row, max(at, trace.newest[i]), out, i)
        if key == 0 or (mask >= 0 and not events.masks[mask, i]):
            continue
        age = longs[row, begin] - at
        if age > FORGOTTEN_HALF_LIVES * line[SPAN]:
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


@lean_kernel
def read_rows(program: Ints, rows: RowViews, at_ms: Ints, out: FeatureBlock) -> None:
    """Read row ``i`` as of ``at_ms[i]`` into line ``i`` of `out`."""
    for operation in range(len(program)):
        line = program[operation]
        kind, column = line[KIND], line[OUT]
        for i in range(len(at_ms)):
            newest = rows.longs[i, NEWEST]
            if kind <= MEAN:
                out.values[i, column] = _read_tiles(line, rows, i, newest, at_ms[i])
            elif kind == TIME_SINCE:
                out.values[i, column] = _read_time_since(line, rows, i, newest, at_ms[i])
            elif kind == LAST_K:
                _read_last_k(line, rows, i, out, i)
            else:
                _read_decayed(line, rows, i, max(newest, at_ms[i]), out, i)


@lean_kernel
def apply_events(
    program: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> None:
    """Apply the events in order to the rows of their slots.

    Unless `out` has no lines, the features just before event ``i``, as of its time, go to its
    line ``i``. An event that is late leaves no trace in its row.
    """
    longs = rows.longs
    for i in range(len(trace.late)):
        row = events.slots[i]
        trace.newest[i] = longs[row, NEWEST]
        longs[row, NEWEST] = max(trace.newest[i], events.times[i])
        trace.taken[i] = False
        trace.refused[i] = False
    for operation in range(len(program)):
        line = program[operation]
        kind = line[KIND]
        if kind <= MEAN:
            _apply_tiles(line, rows, events, trace, out)
        elif kind == TIME_SINCE:
            _apply_time_since(line, rows, events, trace, out)
        elif kind == LAST_K:
            _apply_last_k(line, rows, events, trace, out)
        else:
            _apply_decayed(line, rows, events, trace, out)
    for i in range(len(trace.late)):
        trace.late[i] = trace.refused[i] and not trace.taken[i]
        if not trace.late[i]:
            longs[events.slots[i], OFFSET] = events.offsets[i]
