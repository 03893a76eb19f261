"""Entities that were forgotten a short while ago: what was shown to them may be read later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.snapshots.file_format import Array

NEVER_MS = 2**62
"""Later than every time: of an item whose entity was not forgotten after it was shown."""

# How much later than the tombstone an item may seem to be shown that was shown before it, in
# milliseconds: the clocks of a replica and of the brokers differ.
AHEAD_MS = 1_000

# The rows of the array.
_ENTITY, _UNTIL, _CLOCK = range(3)


class Forgettings:
    """By tombstone, in log order: the entity's hash, its time, and the events' clock then.

    The times of two tombstones of an entity must not descend.

    >>> forgotten = Forgettings()
    >>> forgotten.add(7, until_ms=50, clock_ms=48)
    >>> entities, shown_ms = np.array([7, 7, 8]), np.array([40, 2_000, 40])
    >>> (forgotten.of_shown(entities, shown_ms) == NEVER_MS)[0].tolist()
    [False, True, True]
    >>> forgotten.later(entities, np.array([50, 60, 50])).tolist()
    [51, 60, 50]
    """

    def __init__(self) -> None:
        self._rows: Ints = np.zeros((3, 0), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows[_ENTITY])

    def add(self, entity: int, until_ms: int, clock_ms: int) -> None:
        """Note a tombstone: no label event beyond `until_ms` is one of what was shown before."""
        row = np.array([[entity], [until_ms], [clock_ms]], dtype=np.int64)
        self._rows = np.concatenate([self._rows, row], axis=1)

    def of_shown(self, entities: Ints, shown_ms: Ints) -> Ints:
        """int64[2, n]: time and clock of the tombstone by which each shown item was forgotten.

        That is the first of its entity whose time is not before that of the item. `NEVER_MS` twice
        where there is none.
        """
        found = np.full((2, len(entities)), NEVER_MS, dtype=np.int64)
        if len(self):
            known = self._rows[:, np.isin(self._rows[_ENTITY], entities)]
            for entity, until_ms, clock_ms in known.T[::-1].tolist():
                here = (entities == entity) & (shown_ms <= until_ms + AHEAD_MS)
                found[:, here] = [[until_ms], [clock_ms]]
        return found

    def later(self, entities: Ints, label_ms: Ints) -> Ints:
        """int64[n]: times of events, read after all of the tombstones, moved on beyond them."""
        if not len(self):
            return label_ms
        moved = label_ms.copy()
        known = self._rows[:, np.isin(self._rows[_ENTITY], entities)]
        for entity, until_ms, _ in known.T.tolist():
            here = entities == entity
            moved[here] = np.maximum(moved[here], until_ms + 1)
        return moved

    def drop(self, before_ms: int) -> None:
        """Drop tombstones whose times are less: nothing that they forget is read any more."""
        if len(self):
            self._rows = self._rows[:, self._rows[_UNTIL] >= before_ms]

    def array(self) -> Array:
        """The state, int64[3, r], which later changes leave as it is."""
        return self._rows

    def load(self, arrays: Mapping[str, Array], name: str) -> None:
        """Become the state of `array` that is among `arrays`; files of before have none."""
        if name in arrays:
            self._rows = arrays[name].copy()
