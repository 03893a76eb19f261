"""Finds the rows of compound entities of which another entity is a part: those of a user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.hashing import hash_text, hash_texts
from freshrank.actors.messages import Ints
from freshrank.feature_actors.streams.keys.compound_key import parts_of


class OwnerIndex:
    """The owner of each slot of a table, as an id of 8 bytes; a search compares all of them.

    A million of them take half a millisecond, which who is forgotten costs, and no event.

    >>> index = OwnerIndex(part=0, parts=2)
    >>> names = ["ann:shoes", "bob:hats", "ann:hats"]
    >>> index.note(np.arange(3), names)
    >>> index.names_of("ann", names)
    ['ann:shoes', 'ann:hats']

    Parameters
    ----------
    part
        The index of the owner among the parts of an id.
    parts
        How many there are.
    """

    def __init__(self, part: int, parts: int) -> None:
        self._part = part
        self._parts = parts
        self._owners: Ints = np.zeros(0, dtype=np.int64)

    def note(self, slots: Ints, names: Sequence[str]) -> None:
        """The entities `names` now lie at `slots` int64[m]."""
        missing = int(slots.max(initial=-1)) + 1 - len(self._owners)
        if missing > 0:
            more = np.zeros(max(missing, len(self._owners) // 2), dtype=np.int64)
            self._owners = np.concatenate([self._owners, more])
        self._owners[slots] = hash_texts([self._owner(name) for name in names])

    def names_of(self, owner: str, names: Sequence[str]) -> list[str]:
        """Those of `names`, which are by slot, that have this owner, each once.

        Of a slot that is free at present it is the name that it had.
        """
        places = np.flatnonzero(self._owners == hash_text(owner)).tolist()
        found = dict.fromkeys(names[place] for place in places)
        return [name for name in found if self._owner(name) == owner]

    def _owner(self, name: str) -> str:
        return parts_of(name, self._parts)[self._part]
