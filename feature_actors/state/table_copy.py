"""A copy of a table's rows at one moment, made little by little while the table goes on changing.

Rows that are about to change are given to `keep` first; `advance` copies the others. So each row is
copied once, before its first change after that moment.
"""

from __future__ import annotations

from itertools import compress

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import text_arrays

SPARE = 1.125
"""Reserved memory, as a multiple of the memory needed at that time."""


class RowMemory:
    """Memory for the rows of one copy at a time, kept from each copy to the next.

    Memory that is new to a process takes ten times as long to write to as memory that is not.
    """

    def __init__(self, words: int) -> None:
        self._rows: Doubles = np.zeros((0, words), dtype=np.float64)

    def reserve(self, rows: int) -> None:
        """Reserve memory for so many rows and some more, and touch it: not between two batches."""
        if rows > len(self._rows):
            self._rows = np.full((int(SPARE * rows), self._rows.shape[1]), 0.0)

    def take(self, rows: int) -> Doubles:
        """float64[rows, words]: from the reserved memory if that is enough, else new."""
        return (
            self._rows[:rows] if rows <= len(self._rows) else np.empty((rows, self._rows.shape[1]))
        )


class TableCopy:
    """The rows and names at `slots` int64[e] (ascending) of a table.

    Parameters
    ----------
    names
        By slot, of all slots. The list must not change.
    rows
        float64[e, words]: takes the rows.
    """

    def __init__(self, slots: Ints, names: list[str], rows: Doubles) -> None:
        self._slots = slots
        self._names = names
        self._next = 0  # of `slots`
        self._rows = rows
        # By slot: where its row goes in `_rows`; -1 once it is there, or where there is none.
        self._places: Ints = np.full(len(names), -1, dtype=np.int64)
        self._places[slots] = np.arange(len(slots))

    @property
    def complete(self) -> bool:
        """Whether all rows are copied."""
        return self._next == len(self._slots)

    def keep(self, rows: Doubles, slots: Ints) -> None:
        """Copy the rows at `slots` int64[n], which are about to change (also repeated, or new)."""
        _copy(rows, slots, self._places, self._rows)

    def advance(self, rows: Doubles, most: int | None) -> None:
        """Copy up to `most` rows, or all that are left."""
        end = len(self._slots) if most is None else min(self._next + most, len(self._slots))
        _copy(rows, self._slots[self._next : end], self._places, self._rows)
        self._next = end

    def arrays(self) -> dict[str, Array]:
        """Rows float64[e, words], names as UTF-8 and their ends, once `complete`."""
        assert self.complete
        live = np.zeros(len(self._names), dtype=np.bool_)
        live[self._slots] = True
        names, ends = text_arrays(list(compress(self._names, live.tobytes())))
        return {"rows": self._rows, "names": names, "name_ends": ends}


@lean_kernel
def _copy(rows: Doubles, slots: Ints, places: Ints, copied: Doubles) -> None:
    for i in range(len(slots)):
        slot = slots[i]
        if slot < len(places) and places[slot] >= 0:
            place = places[slot]
            for word in range(rows.shape[1]):
                copied[place, word] = rows[slot, word]
            places[slot] = -1
