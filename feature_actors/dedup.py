"""Events that were seen already: ids remembered for a stretch of event time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.compiled import lean_kernel
from freshrank.actors.messages import Bools, Ints

_FIRST_SLOTS = 1 << 12  # 64 KiB: nothing for an idle partition

# The table is rebuilt when 5 of 8 slots are taken: beyond, linear probing gets slow.
_FULL_EIGHTHS = 5

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: 2**64 divided by the golden ratio


class Deduplicator:
    """Tells fresh events from those seen within `horizon_ms` of event time.

    An id is remembered while its event time is at least the newest event time seen less the
    horizon. Of a duplicate nothing is kept: the first event's time stands. Memory: 16 bytes a
    slot, and 1.6 to 4 slots for each id remembered.
    """

    def __init__(self, horizon_ms: int) -> None:
        self.horizon_ms = horizon_ms
        self._newest = 0
        self._used = 0
        self._table = _empty(_FIRST_SLOTS)

    def __len__(self) -> int:
        """How many ids the table holds, forgotten ones included until the next rebuild."""
        return self._used

    def fresh(self, ids: Ints, event_times_ms: Ints) -> Bools:
        """bool[n]: False for each event whose id came before, in this batch or an earlier one.

        Both arguments are int64[n]; an id is never 0.
        """
        self._make_room(len(ids))
        out = np.empty(len(ids), dtype=np.bool_)
        self._newest, added = mark(
            self._table, ids, event_times_ms, self._newest, self.horizon_ms, out
        )
        self._used += added
        return out

    def arrays(self) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
        """What is remembered, for a snapshot: ids and times int64[m], the newest time int64[1]."""
        live = self._live()
        return {
            "ids": live[:, 0].copy(),
            "times": live[:, 1].copy(),
            "newest": np.array([self._newest]),
        }

    @classmethod
    def restore(cls, horizon_ms: int, arrays: Mapping[str, Ints]) -> Deduplicator:
        """The deduplicator whose `arrays` these are."""
        restored = cls(horizon_ms)
        restored._newest = int(arrays["newest"][0])
        restored._rebuild(np.stack([arrays["ids"], arrays["times"]], axis=1), 0)
        return restored

    def _live(self) -> Ints:
        """int64[m, 2]: ids and times within the horizon."""
        taken = self._table[self._table[:, 0] != 0]
        live: Ints = taken[taken[:, 1] >= self._newest - self.horizon_ms]
        return live

    def _make_room(self, coming: int) -> None:
        if (self._used + coming) * 8 > len(self._table) * _FULL_EIGHTHS:
            self._rebuild(self._live(), coming)

    def _rebuild(self, live: Ints, coming: int) -> None:
        # Twice what is needed, so that rebuilds stay rare while ids come and go.
        needed = 2 * (len(live) + coming) * 8 // _FULL_EIGHTHS
        self._table = _empty(max(_FIRST_SLOTS, 1 << (needed - 1).bit_length()))
        insert(self._table, live)
        self._used = len(live)


def _empty(slots: int) -> Ints:
    return np.zeros((slots, 2), dtype=np.int64)


@lean_kernel
def _find(table: Ints, key: np.int64) -> np.int64:
    """The slot of `key`, or the empty one where it belongs; the table is a power of two long."""
    last = len(table) - 1
    slot = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(20)) & last
    while table[slot, 0] != 0 and table[slot, 0] != key:
        slot = (slot + 1) & last
    return slot


@lean_kernel
def insert(table: Ints, entries: Ints) -> None:
    """Put distinct `entries` int64[m, 2] (id, time) into a table that has room for them."""
    for i in range(len(entries)):
        slot = _find(table, entries[i, 0])
        table[slot, 0] = entries[i, 0]
        table[slot, 1] = entries[i, 1]


@lean_kernel
def mark(
    table: Ints, ids: Ints, times: Ints, newest: int, horizon: int, fresh: Bools
) -> tuple[int, int]:
    """Fill `fresh` in order; gives the newest time and how many slots were newly taken."""
    added = 0
    for i in range(len(ids)):
        newest = max(newest, times[i])
        slot = _find(table, ids[i])
        known = table[slot, 0] != 0
        fresh[i] = not known or table[slot, 1] < newest - horizon
        if fresh[i]:
            added += 0 if known else 1
            table[slot, 0] = ids[i]
            table[slot, 1] = times[i]
    return newest, added
