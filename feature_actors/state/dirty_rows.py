"""The set of rows that have changed since they were written to the online store."""

from __future__ import annotations

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Bools, Ints

_FEWEST = 1024


class DirtySlots:
    """A set of slots of a table, in the order in which they were first marked.

    >>> dirty = DirtySlots()
    >>> dirty.mark(np.array([3, 1, 3]))
    >>> dirty.take(10).tolist(), len(dirty)
    ([3, 1], 0)
    """

    def __init__(self) -> None:
        self._marked: Bools = np.zeros(_FEWEST, dtype=np.bool_)
        self._queue: Ints = np.zeros(_FEWEST, dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def mark(self, slots: Ints) -> None:
        """Add `slots` int64[n], which may repeat."""
        if len(slots) == 0:
            return
        needed = int(slots.max()) + 1
        if needed > len(self._marked):
            more = max(needed, 2 * len(self._marked)) - len(self._marked)
            self._marked = np.concatenate([self._marked, np.zeros(more, dtype=np.bool_)])
            self._queue = np.concatenate([self._queue, np.zeros(more, dtype=np.int64)])
        self._count = _mark(slots, self._marked, self._queue, self._count)

    def peek(self) -> Ints:
        """int64[m]: all of them."""
        return self._queue[: self._count].copy()

    def among(self, count: int) -> Bools:
        """bool[count]: which of the slots below `count` are in the set."""
        found = np.zeros(count, dtype=np.bool_)
        known = self._marked[:count]
        found[: len(known)] = known
        return found

    def take(self, most: int) -> Ints:
        """int64[m]: up to `most` of them, the longest marked first; they are no longer marked."""
        taken = self._queue[:most].copy() if most < self._count else self.peek()
        rest = self._count - len(taken)
        self._queue[:rest] = self._queue[len(taken) : self._count].copy()
        self._count = rest
        self._marked[taken] = False
        return taken


@kernel
def _mark(slots: Ints, marked: Bools, queue: Ints, count: int) -> int:
    for slot in slots:
        if not marked[slot]:
            marked[slot] = True
            queue[count] = slot
            count += 1
    return count
