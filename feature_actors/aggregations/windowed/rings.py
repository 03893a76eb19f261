"""Rings of tiles in a row: the compiled loops of every aggregate over sliding windows.

A ring has one tile a hop. A read as of a time before the newest event of the row is a read as of
that event. Since every ring is positioned by that newest event too, what a window gives depends
on the events alone, not on the order in which they came.

A ring of one tile is that of a window which begins anew with each tile, or never: then counts are
int64, in words that hold two int32 of other rings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.kernel_types import (
    AT,
    CHANGES,
    CLOCKS,
    DELAY,
    HOP,
    INPUT,
    MASK,
    OUT,
    SHIFT,
    SIZE,
    SPAN,
    WHOLE,
    EventArrays,
    FeatureBlock,
    Moment,
    Operation,
    Read,
    RowViews,
    Trace,
)

Combine: TypeAlias = Callable[[float, float], float]
"""From a tile's value and another number (or another tile's value) to the tile's next value."""


Clear: TypeAlias = Callable[[RowViews, int, Ints, int], None]
Change: TypeAlias = Callable[[RowViews, int, Ints, int, float], None]


class Tiles(NamedTuple):
    """The kind of the tiles of a ring: the value without events, and three `inlined` functions."""

    identity: Callable[[int], Ints]
    """int64[words] of a ring of so many tiles without events (not compiled)."""
    clear: Clear
    """Empties tile `place` of the line's ring in a row."""
    update: Change
    """Adds a number to tile `place`."""
    merge: Callable[[RowViews, int, Ints, int, int], float]
    """The value of the tiles numbered first to last, taken together."""


@subkernel
def quotient(number: int, divisor: int, inverse: float) -> int:
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


def number_tiles(identity: float, combine: Combine) -> Tiles:
    """A float64 a tile: `identity` without events, else its numbers folded by `combine`.

    `combine` is `inlined`.
    """

    @inlined
    def clear(rows: RowViews, row: int, line: Ints, place: int) -> None:
        rows.doubles[row, line[AT] + place] = identity

    @inlined
    def update(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
        rows.doubles[row, line[AT] + place] = combine(rows.doubles[row, line[AT] + place], number)

    @inlined
    def merge(rows: RowViews, row: int, line: Ints, first: int, last: int) -> float:
        begin, size = line[AT], line[SIZE]
        total, place = identity, begin + first % size
        for _ in range(first, last + 1):
            total = combine(total, rows.doubles[row, place])
            place += 1
            if place == begin + size:
                place = begin
        return total

    return Tiles(lambda tiles: np.full(tiles, identity).view(np.int64), clear, update, merge)


def counter_words(tiles: int, counters: int = 1) -> int:
    """The words of a ring with so many `counters` a tile.

    >>> counter_words(13), counter_words(13, counters=3), counter_words(1, counters=3)
    (7, 20, 3)
    """
    return counters if tiles == 1 else -(-tiles * counters // 2)


def count_tiles(skipped: int) -> Tiles:
    """A counter a tile, after `skipped` words a tile of the ring that belong to another."""

    @inlined
    def clear(rows: RowViews, row: int, line: Ints, place: int) -> None:
        if line[SIZE] == 1:
            rows.longs[row, line[AT] + skipped] = 0
        else:
            rows.shorts[row, 2 * (line[AT] + skipped * line[SIZE]) + place] = 0

    @inlined
    def update(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
        if line[SIZE] == 1:
            rows.longs[row, line[AT] + skipped] += 1
        else:
            rows.shorts[row, 2 * (line[AT] + skipped * line[SIZE]) + place] += 1

    @inlined
    def merge(rows: RowViews, row: int, line: Ints, first: int, last: int) -> float:
        size = line[SIZE]
        if size == 1:
            return float(rows.longs[row, line[AT] + skipped]) if first <= last else 0.0
        begin = 2 * (line[AT] + skipped * size)
        total, place = 0, begin + first % size
        for _ in range(first, last + 1):
            total += rows.shorts[row, place]
            place += 1
            if place == begin + size:
                place = begin
        return float(total)

    return Tiles(lambda tiles: np.zeros(counter_words(tiles), dtype=np.int64), clear, update, merge)


def mean_tiles(sums: Tiles) -> Tiles:
    """The tiles `sums` with a ring of counts behind theirs: merged, a quotient of both."""
    counts = count_tiles(skipped=1)
    clear_sum, update_sum, merge_sums = sums.clear, sums.update, sums.merge
    clear_count, update_count, merge_counts = counts.clear, counts.update, counts.merge

    @inlined
    def clear(rows: RowViews, row: int, line: Ints, place: int) -> None:
        clear_sum(rows, row, line, place)
        clear_count(rows, row, line, place)

    @inlined
    def update(rows: RowViews, row: int, line: Ints, place: int, number: float) -> None:
        update_sum(rows, row, line, place, number)
        update_count(rows, row, line, place, number)

    @inlined
    def merge(rows: RowViews, row: int, line: Ints, first: int, last: int) -> float:
        events = merge_counts(rows, row, line, first, last)
        return merge_sums(rows, row, line, first, last) / events if events > 0 else math.nan

    def identity(tiles: int) -> Ints:
        return np.concatenate([sums.identity(tiles), counts.identity(tiles)])

    return Tiles(identity, clear, update, merge)


@subkernel
def _shift_of_clocks(line: Ints, at: int) -> int:
    """The shift from the last clock change on, that is not after a time."""
    low, high = 0, line[CHANGES]
    while low < high:
        middle = (low + high) // 2
        if line[CLOCKS + middle] <= at:
            low = middle + 1
        else:
            high = middle
    shift: int = line[SHIFT] if low == 0 else line[CLOCKS + line[CHANGES] + low - 1]
    return shift


@inlined
def _shift_at(line: Ints, at: int) -> int:
    """How long before the epoch a tile of the line begins, by the clocks of a time."""
    shift: int = line[SHIFT]
    if line[CHANGES] > 0:
        shift = _shift_of_clocks(line, at)
    return shift


@inlined
def tile_of(line: Ints, at: int) -> int:
    """The number of the line's tile at a time."""
    hop: int = line[HOP]
    number: int = quotient(at + _shift_at(line, at), hop, 1.0 / hop)
    return number


@inlined
def reach(line: Ints, moment: Moment) -> tuple[int, int]:
    """The first and the last tile that the line's window takes as of a moment."""
    newest, at = moment
    end = max(at, newest) - line[DELAY]
    first, last = tile_of(line, max(end - line[SPAN], 0)), tile_of(line, newest)
    if line[SPAN] == 0:
        first -= line[WHOLE]
    if line[WHOLE] != 0:
        last = min(last, tile_of(line, max(end, 0)) - 1)
    return first, last


def _window_read(tiles: Tiles) -> Read:
    """The compiled read of a window over `tiles`."""
    merge_tiles = tiles.merge

    @subkernel
    def read(
        line: Ints, rows: RowViews, row: int, moment: Moment, out: FeatureBlock, to: int
    ) -> None:
        first, last = reach(line, moment)
        out.values[to, line[OUT]] = merge_tiles(rows, row, line, first, last)

    return read


def window_operation(opcode: int, tiles: Tiles, *, of_field: bool) -> Operation:
    """The loops over rings of `tiles`: over a field's numbers if `of_field`, else over events."""
    return ring_operation(opcode, (tiles.clear, tiles.update), _window_read(tiles), of_field)


def ring_operation(
    opcode: int, change: tuple[Clear, Change], read: Read, of_field: bool
) -> Operation:
    """The loops over rings whose tiles `change` empties and updates, and which `read` reads."""
    clear_tile, update_tile = change

    @subkernel
    def update(
        line: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
    ) -> None:
        """Read if wanted, empty the tiles that come into reach, and update the event's tile."""
        size, hop, mask = line[SIZE], line[HOP], line[MASK]
        inverse = 1.0 / hop
        before = len(out.values) > 0
        for i in range(len(trace.newest)):
            row, at, newest = events.slots[i], events.times[i], trace.newest[i]
            if before:
                read(line, rows, row, (newest, at), out, i)
            tile = quotient(at + _shift_at(line, at), hop, inverse)
            head = quotient(newest + _shift_at(line, newest), hop, inverse)
            coming = max(head + 1, tile - size + 1)
            place = coming % size
            for _ in range(coming, tile + 1):
                clear_tile(rows, row, line, place)
                place += 1
                if place == size:
                    place = 0
            if mask >= 0 and not events.masks[mask, i]:
                continue
            number = events.numbers[line[INPUT], i] if of_field else 1.0
            if math.isnan(number):
                continue
            if tile <= head - size:
                trace.refused[i] = True
                continue
            trace.taken[i] = True
            update_tile(rows, row, line, tile % size, number)

    return Operation(opcode, update, read)
