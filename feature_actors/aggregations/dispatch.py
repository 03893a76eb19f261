"""The compiled program of a row: every operation of this folder, chosen by opcode.

Some events of a batch are given to one program line after the other, then the next ones: each
operation goes through them in order, in a tight loop over rows that have just been fetched.

A module of this folder takes part by listing its `OPERATIONS`: nothing else has to name it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from freshrank.actors.kernels.compile import inlined, lean_kernel, subkernel
from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.aggregations.kernel_types import (
    NEWEST,
    OFFSET,
    OPCODE,
    EventArrays,
    FeatureBlock,
    Operation,
    RowViews,
    Trace,
)

Kernel: TypeAlias = Callable[..., None]

# Words of a cache line.
_LINE_WORDS = 8

# Events whose rows are fetched at once: of a kilobyte each, they fit into a core's second cache.
_TOGETHER = 64


def _registered() -> Iterator[Operation]:
    """The operations that the modules of this folder list."""
    package = f"{__name__.rpartition('.')[0]}."
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], package):
        yield from getattr(importlib.import_module(module.name), "OPERATIONS", ())


OPERATIONS: Sequence[Operation] = sorted(_registered(), key=lambda operation: operation.opcode)
"""All there are, by opcode."""


def by_opcode(kernels: Sequence[tuple[int, Kernel]]) -> Kernel:
    """A part of a kernel that hands a line, with other arguments, to the kernel of its opcode.

    The last kernel takes every opcode that the others do not.
    """
    (opcode, chosen), *others = kernels
    if not others:

        @inlined
        def last(line: Ints, arguments: tuple[Any, ...]) -> None:
            chosen(line, *arguments)

        return last
    rest = by_opcode(others)

    @inlined
    def select(line: Ints, arguments: tuple[Any, ...]) -> None:
        if line[OPCODE] == opcode:
            chosen(line, *arguments)
        else:
            rest(line, arguments)

    return select


_read_line = by_opcode([(operation.opcode, operation.read) for operation in OPERATIONS])
_update_line = by_opcode([(operation.opcode, operation.update) for operation in OPERATIONS])


@lean_kernel
def read_rows(
    program: Ints, words: Doubles, at_ms: Ints, values: Doubles, ids: Ints, id_weights: Doubles
) -> None:
    """Read row ``i`` of `words` float64[n, w] as of ``at_ms[i]`` into line ``i`` of a block.

    The block is given as its arrays, and rows without their views: numba needs a microsecond to
    unpack a tuple argument, and the read of a row takes three.
    """
    rows = RowViews(words, words.view(np.int64), words.view(np.int32))
    out = FeatureBlock(values, ids, id_weights)
    for operation in range(len(program)):
        line = program[operation]
        for i in range(len(at_ms)):
            _read_line(line, (rows, i, (rows.longs[i, NEWEST], at_ms[i]), out, i))


@lean_kernel
def begin_events(longs: Ints, slots: Ints, times: Ints, newest: Ints) -> None:
    """Note in the rows that events have come: `newest` int64[n] gets the times before.

    `longs` are the words of all rows; `slots` and `times` int64[n] are of the events, in order.
    """
    for i in range(len(slots)):
        newest[i] = longs[slots[i], NEWEST]
        longs[slots[i], NEWEST] = max(newest[i], times[i])


@lean_kernel
def end_events(
    longs: Ints, slots: Ints, offsets: Ints, taken: Bools, refused: Bools, late: Bools
) -> None:
    """Tell which events are late, `late` bool[n]: refused as too old, and not taken.

    The rows of the others get the offsets int64[n] of the events; a late one leaves no trace.
    """
    for i in range(len(slots)):
        late[i] = refused[i] and not taken[i]
        if not late[i]:
            longs[slots[i], OFFSET] = offsets[i]


@subkernel
def _fetch(longs: Ints, slots: Ints) -> int:
    """Read a word of every cache line of the rows at `slots`; gives what nobody needs.

    Lines of the program read some words of each row. Of many rows none is in a cache, and a row's
    lines come in half the time if they are asked for together.
    """
    read = 0
    for i in range(len(slots)):
        for word in range(0, longs.shape[1], _LINE_WORDS):
            read ^= longs[slots[i], word]
    return read


@lean_kernel
def apply_events(
    program: Ints, rows: RowViews, events: EventArrays, trace: Trace, out: FeatureBlock
) -> int:
    """Apply the events in order to the rows of their slots.

    Unless `out` has no lines, the features just before event ``i``, as of its time, go to its
    line ``i``. What is returned has no meaning: without it the compiler would leave `_fetch` out.
    """
    read = 0
    for begin in range(0, len(trace.newest), _TOGETHER):
        end = begin + _TOGETHER
        some = EventArrays(
            events.slots[begin:end],
            events.times[begin:end],
            events.masks[:, begin:end],
            events.numbers[:, begin:end],
            events.keys[:, begin:end],
        )
        traced = Trace(trace.newest[begin:end], trace.taken[begin:end], trace.refused[begin:end])
        lines = FeatureBlock(out.values[begin:end], out.ids[begin:end], out.id_weights[begin:end])
        read ^= _fetch(rows.longs, some.slots)
        for operation in range(len(program)):
            _update_line(program[operation], (rows, some, traced, lines))
    return read
