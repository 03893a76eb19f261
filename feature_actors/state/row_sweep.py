"""The rows of a table in turn, again and again: whether the online store still has them."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.feature_actors.state.tracked_table import TrackedRows


class RowSweep:
    """Goes through the slots of a table.

    Entities that are added while a sweep is under way are left to the next one: they have just been
    written.
    """

    def __init__(self, table: TrackedRows) -> None:
        self._table = table
        self._rest: Ints = np.zeros(0, dtype=np.int64)
        self._evictions = table.evictions

    def take(self, most: int) -> Ints:
        """int64[m]: the next slots with an entity, at most so many; none at the end of a sweep."""
        if not len(self._rest):
            self._rest = self._table.slots()
        elif self._evictions != self._table.evictions:
            slots = self._table.slots()
            self._rest = slots[slots >= self._rest[0]]
        self._evictions = self._table.evictions
        taken, self._rest = self._rest[:most], self._rest[most:]
        return taken
