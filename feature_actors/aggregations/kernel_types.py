"""The arrays that the compiled loops over entity rows work on, and the entries of a program.

A row is ``words`` words of 8 bytes. Words 0 and 1 are the newest event time and the offset of
the last event applied. The rest belongs to *operations*: `program` int64[o, 16 + 2 c] holds one
line for each, whose entries are the constants below; `c` is the most clock changes of a line.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Doubles, Ints

Shorts: TypeAlias = NDArray[np.int32]


class RowViews(NamedTuple):
    """The memory of ``r`` rows as three kinds of number."""

    doubles: Doubles
    """float64[r, words]."""
    longs: Ints
    """int64[r, words]."""
    shorts: Shorts
    """int32[r, 2 * words]: the tiles of counts."""


class EventArrays(NamedTuple):
    """``n`` events as the kernels take them, or elements of their lists, each as an event."""

    slots: Ints
    """int64[n]: the row of each event's entity."""
    times: Ints
    """int64[n]: event times, ms."""
    masks: Bools
    """bool[m, n]: a line for each condition."""
    numbers: Doubles
    """float64[., n]: a line for each numeric field that is read; NaN is passed over."""
    keys: Ints
    """int64[., n]: a line for each field that is read as ids; 0 is passed over."""


class Trace(NamedTuple):
    """The effect of each of ``n`` events, filled by `apply_events`."""

    newest: Ints
    """int64[n]: the newest event time of the row just before the event (`begin_events`)."""
    taken: Bools
    """bool[n]: some operation has changed the row for it."""
    refused: Bools
    """bool[n]: some operation has refused it as too old."""


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

OPCODE, AT, SIZE, MASK, INPUT, HOP, SPAN, OUT, DELAY, SHIFT, WHOLE, CHANGES = range(12)
"""Entries of a program line: opcode; first word; number of tiles or entries; line of `masks` (-1:
every event); line of `numbers` or `keys`; hop in ms; window or half-life in ms, 0 for a window that
does not slide; first column of the output; how long before the time of a read a window ends, in
ms; how long before the epoch a tile begins, in ms; 1 where a window takes only tiles that were over
by its end, else 0; the number of clock changes."""

PARAMETERS, CLOCKS = 12, 16
"""The first of four entries that are the bits of float64 constants, and behind them the first of
the clock changes: the time of each, ms, in order, and then the `SHIFT` from each on."""

Update: TypeAlias = Callable[[Ints, RowViews, EventArrays, Trace, FeatureBlock], None]
"""Applies a batch of events for one program line, in order. Unless the block is empty, line ``i``
of it first gets the feature just before event ``i``, as of its time."""

Moment: TypeAlias = tuple[int, int]
"""The time of a read, ms: a row's newest event time and the requested time; the later counts."""

Read: TypeAlias = Callable[[Ints, RowViews, int, Moment, FeatureBlock, int], None]
"""Reads the feature of a program line from a row, as of a moment, into a line of the block."""


class Operation(NamedTuple):
    """The compiled loops of an opcode. `dispatch` calls them for each line of a program."""

    opcode: int
    """Its number, which no other operation has."""
    update: Update
    """A subkernel."""
    read: Read
    """A subkernel."""


def blank_trace(newest: Ints) -> Trace:
    """The trace of events before which rows had the newest times `newest` int64[n]."""
    flags = np.zeros((2, len(newest)), dtype=np.bool_)
    return Trace(newest, flags[0], flags[1])


def views(rows: Doubles) -> RowViews:
    """The three views of C-contiguous rows float64[r, words]."""
    return RowViews(rows, rows.view(np.int64), rows.view(np.int32))
