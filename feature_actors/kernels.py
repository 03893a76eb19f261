"""The compiled loops over entity rows. They call each other, so they share one module.

A row is ``words`` words of 8 bytes. Words 0 and 1 are the newest event time and the offset of
the last event applied. The rest belongs to *operations*: `program` int64[o, 8] holds one line for
each, whose entries are the constants below.

A read as of a time before the newest event of the row is a read as of that event. Since every
ring of tiles is positioned by that newest event too, what a window gives depends on the events
alone, not on the order in which they came.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.compiled import lean_kernel
from freshrank.actors.messages import Bools, Doubles, Ints


class RowViews(NamedTuple):
    """One memory of ``r`` rows, seen in three ways."""

    doubles: Doubles
    """float64[r, words]."""
    longs: Ints
    """int64[r, words]."""
    shorts: NDArray[np.int32]
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

_PASSED, _TAKEN, _REFUSED = 0, 1, 2  # what an operation did with an event


def views(rows: Doubles) -> RowViews:
    """The three views of C-contiguous rows float64[r, words]."""
    return RowViews(rows, rows.view(np.int64), rows.view(np.int32))


@lean_kernel
def _tile(at: int, hop: int) -> int:
    """``at // hop``: exact up to 2**53, and many times faster than a division of integers."""
    return math.floor(at / hop)


@lean_kernel
def _advance(line: Ints, rows: RowViews, row: int, newest: int, at: int) -> None:
    """Empty the tiles that come into reach when the newest event moves from `newest` to `at`."""
    kind, size, hop = line[KIND], line[SIZE], line[HOP]
    end = _tile(at, hop)
    begin = max(_tile(newest, hop) + 1, end - size + 1)
    place = begin % size if begin <= end else 0
    for _ in range(begin, end + 1):
        if kind == COUNT:
            rows.shorts[row, 2 * line[AT] + place] = 0
        else:
            rows.doubles[row, line[AT] + place] = 0.0
            if kind == MEAN:
                rows.shorts[row, 2 * (line[AT] + size) + place] = 0
        place += 1
        if place == size:
            place = 0


@lean_kernel
def _add_to_tile(line: Ints, rows: RowViews, row: int, newest: int, at: int, number: float) -> int:
    """Count, sum or mean: `newest` is at least `at`, the ring already moved."""
    kind, size, hop = line[KIND], line[SIZE], line[HOP]
    tile = _tile(at, hop)
    if at < newest and tile <= _tile(newest, hop) - size:
        return _REFUSED
    place = tile % size
    if kind == COUNT:
        rows.shorts[row, 2 * line[AT] + place] += 1
    else:
        rows.doubles[row, line[AT] + place] += number
        if kind == MEAN:
            rows.shorts[row, 2 * (line[AT] + size) + place] += 1
    return _TAKEN


@lean_kernel
def _insert_last(line: Ints, rows: RowViews, row: int, at: int, key: int) -> int:
    """Last k: keys newest first, then their times; of equal times the later arrival is newer."""
    keys, size = line[AT], line[SIZE]
    times = keys + size
    place = size - 1
    if rows.longs[row, keys + place] != 0 and at < rows.longs[row, times + place]:
        return _REFUSED
    while place > 0 and (
        rows.longs[row, keys + place - 1] == 0 or rows.longs[row, times + place - 1] <= at
    ):
        rows.longs[row, keys + place] = rows.longs[row, keys + place - 1]
        rows.longs[row, times + place] = rows.longs[row, times + place - 1]
        place -= 1
    rows.longs[row, keys + place] = key
    rows.longs[row, times + place] = at
    return _TAKEN


@lean_kernel
def _add_decayed(line: Ints, rows: RowViews, row: int, at: int, key: int) -> int:
    """Space-saving with decay: reference time, keys, then values as of the reference time."""
    size, keys = line[SIZE], line[AT] + 1
    values = keys + size
    half_lives = (at - rows.longs[row, line[AT]]) / line[SPAN]
    weight = 1.0
    if half_lives > 0.0:
        factor = math.exp(-_LN_2 * half_lives)
        for place in range(size):
            rows.doubles[row, values + place] *= factor
        rows.longs[row, line[AT]] = at
    elif half_lives < -FORGOTTEN_HALF_LIVES:
        return _REFUSED
    else:
        weight = math.exp(_LN_2 * half_lives)
    least = 0
    for place in range(size):
        if rows.longs[row, keys + place] == key:
            rows.doubles[row, values + place] += weight
            return _TAKEN
        if rows.doubles[row, values + place] < rows.doubles[row, values + least]:
            least = place
    rows.longs[row, keys + least] = key
    rows.doubles[row, values + least] += weight
    return _TAKEN


@lean_kernel
def _tile_total(line: Ints, rows: RowViews, row: int, newest: int, at: int) -> float:
    """The value of a count, sum or mean as of `at`, not before `newest`."""
    kind, size, hop = line[KIND], line[SIZE], line[HOP]
    first = _tile(max(at - line[SPAN], 0), hop)
    last = _tile(newest, hop)
    total, events = 0.0, 0
    place = first % size
    for _ in range(first, last + 1):
        if kind == COUNT:
            events += rows.shorts[row, 2 * line[AT] + place]
        else:
            total += rows.doubles[row, line[AT] + place]
            if kind == MEAN:
                events += rows.shorts[row, 2 * (line[AT] + size) + place]
        place += 1
        if place == size:
            place = 0
    if kind == COUNT:
        return float(events)
    if kind == MEAN:
        return total / events if events > 0 else math.nan
    return total


@lean_kernel
def _read_row(
    program: Ints, rows: RowViews, row: int, when: int, out: FeatureBlock, to: int
) -> None:
    """Fill line `to` of `out` with the features of one row as of `when`."""
    newest = rows.longs[row, NEWEST]
    at = max(when, newest)
    for operation in range(len(program)):
        line = program[operation]
        kind, begin, size, column = line[KIND], line[AT], line[SIZE], line[OUT]
        if kind <= MEAN:
            out.values[to, column] = _tile_total(line, rows, row, newest, at)
        elif kind == TIME_SINCE:
            last = rows.longs[row, begin]
            out.values[to, column] = (at - last) / 1000.0 if last >= 0 else math.nan
        elif kind == LAST_K:
            for place in range(size):
                key = rows.longs[row, begin + place]
                out.ids[to, column + place] = key
                out.id_weights[to, column + place] = 0.0 if key == 0 else 1.0
        else:
            factor = math.exp(-_LN_2 * ((at - rows.longs[row, begin]) / line[SPAN]))
            for place in range(begin + 1, begin + 1 + size):
                out.ids[to, column] = rows.longs[row, place]
                out.id_weights[to, column] = rows.doubles[row, place + size] * factor
                column += 1


@lean_kernel
def read_rows(program: Ints, rows: RowViews, at_ms: Ints, out: FeatureBlock) -> None:
    """Read row ``i`` as of ``at_ms[i]`` into line ``i`` of `out`."""
    for i in range(len(at_ms)):
        _read_row(program, rows, i, at_ms[i], out, i)


@lean_kernel
def _update_number(
    line: Ints, rows: RowViews, row: int, newest: int, events: EventArrays, event: int
) -> int:
    """Give one event to a count, sum or mean."""
    number = 1.0 if line[KIND] == COUNT else events.numbers[line[INPUT], event]
    if math.isnan(number):
        return _PASSED
    return _add_to_tile(line, rows, row, newest, events.times[event], number)


@lean_kernel
def _update_key(line: Ints, rows: RowViews, row: int, events: EventArrays, event: int) -> int:
    """Give one event to a last k or a decayed count."""
    key = events.keys[line[INPUT], event]
    if key == 0:
        return _PASSED
    if line[KIND] == LAST_K:
        return _insert_last(line, rows, row, events.times[event], key)
    return _add_decayed(line, rows, row, events.times[event], key)


@lean_kernel
def _update(
    line: Ints, rows: RowViews, row: int, newest: int, events: EventArrays, event: int
) -> int:
    """Give one event to one operation, if it meets the condition."""
    if line[MASK] >= 0 and not events.masks[line[MASK], event]:
        return _PASSED
    if line[KIND] <= MEAN:
        return _update_number(line, rows, row, newest, events, event)
    if line[KIND] != TIME_SINCE:
        return _update_key(line, rows, row, events, event)
    if events.times[event] <= rows.longs[row, line[AT]]:
        return _PASSED
    rows.longs[row, line[AT]] = events.times[event]
    return _TAKEN


@lean_kernel
def apply_events(
    program: Ints, rows: RowViews, events: EventArrays, late: Bools, before: bool, out: FeatureBlock
) -> None:
    """Apply the events in order to the rows of their slots.

    With `before`, the features just before event ``i``, as of its time, go to line ``i`` of `out`.
    ``late[i]`` tells that some operation had to refuse the event as too old, and none took it;
    such an event leaves no trace.
    """
    for i in range(len(late)):
        row, at = events.slots[i], events.times[i]
        if before:
            _read_row(program, rows, row, at, out, i)
        newest = rows.longs[row, NEWEST]
        if at > newest:
            for operation in range(len(program)):
                if program[operation, KIND] <= MEAN:
                    _advance(program[operation], rows, row, newest, at)
            rows.longs[row, NEWEST] = at
            newest = at
        taken, refused = False, False
        for operation in range(len(program)):
            outcome = _update(program[operation], rows, row, newest, events, i)
            taken = taken or outcome == _TAKEN
            refused = refused or outcome == _REFUSED
        late[i] = refused and not taken
        if not late[i]:
            rows.longs[row, OFFSET] = events.offsets[i]
