"""An open-addressing map from ids to int64, as one array that kernels walk.

Faster than a dict by an order of magnitude where it has many thousand entries: the cache misses
of a batch overlap, and no object is touched.
"""

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Ints

LEAST_SLOTS = 1 << 12  # 64 KiB: nothing for an idle partition

# A table is replaced by a larger one when 5 of 8 places are taken: beyond, linear probing is slow.
_FULL_EIGHTHS = 5

# Fibonacci hashing: 2**64 divided by the golden ratio; its high bits are the well-mixed ones.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def places(entries: int) -> int:
    """The number of places, of 16 bytes each, of a table for so many entries."""
    wanted = 2 * entries * 8 // _FULL_EIGHTHS
    return max(LEAST_SLOTS, 1 << wanted.bit_length())


def blank(entries: int) -> Ints:
    """An empty table int64[s, 2] (id, value) that holds twice `entries` before it is full."""
    return np.zeros((places(entries), 2), dtype=np.int64)


def room(places: int) -> int:
    """The number of entries that a table of so many places may hold."""
    return places * _FULL_EIGHTHS // 8


def entries_of(table: Ints) -> Ints:
    """int64[m, 2]: the entries of the table, in the order of its places."""
    taken: Ints = table[table[:, 0] != 0]
    return taken


@lean_kernel
def _place(table: Ints, key: np.int64) -> int:
    """The place of `key`, or the empty place for it; the table's length is a power of two."""
    last = len(table) - 1
    place = int((np.uint64(key) * _GOLDEN) >> np.uint64(32)) & last
    while table[place, 0] != 0 and table[place, 0] != key:
        place = (place + 1) & last
    return place


@lean_kernel
def insert(table: Ints, entries: Ints) -> None:
    """Put `entries` int64[m, 2] into a table with room. No id is 0; of equals the last counts."""
    for i in range(len(entries)):
        place = _place(table, entries[i, 0])
        table[place, 0] = entries[i, 0]
        table[place, 1] = entries[i, 1]


@lean_kernel
def look_up(table: Ints, ids: Ints, out: Ints) -> None:
    """The value of each id int64[n]; -1 where it is unknown."""
    for i in range(len(ids)):
        place = _place(table, ids[i])
        out[i] = table[place, 1] if table[place, 0] != 0 else -1


@lean_kernel
def assign(table: Ints, ids: Ints, offered: Ints, out: Ints, firsts: Ints) -> int:
    """The value of each id int64[n]; an unknown id gets the next value of `offered` int64[n].

    Returns the number of unknown ids; the indices of their first events go to `firsts`.
    """
    added = 0
    for i in range(len(ids)):
        place = _place(table, ids[i])
        if table[place, 0] == 0:
            table[place, 0] = ids[i]
            table[place, 1] = offered[added]
            firsts[added] = i
            added += 1
        out[i] = table[place, 1]
    return added


@lean_kernel
def remove(table: Ints, ids: Ints) -> None:
    """Take the entries of ids int64[n] away; unknown ids are left out.

    Entries that follow without an empty place between move back to where they are found (Knuth,
    The Art of Computer Programming, volume 3, section 6.4, algorithm R).
    """
    last = len(table) - 1
    for i in range(len(ids)):
        hole = _place(table, ids[i])
        if table[hole, 0] == 0:
            continue
        place = hole
        while True:
            table[hole, 0] = 0
            while True:
                place = (place + 1) & last
                key = table[place, 0]
                if key == 0:
                    break
                home = int((np.uint64(key) * _GOLDEN) >> np.uint64(32)) & last
                # It may stay where its home lies, cyclically, behind the hole.
                if (place - home) & last >= (place - hole) & last:
                    break
            if table[place, 0] == 0:
                break
            table[hole, 0], table[hole, 1] = table[place, 0], table[place, 1]
            hole = place


@lean_kernel
def mark(table: Ints, log: Ints, events: Ints, state: Ints, fresh: Bools) -> None:
    """Fill `fresh` in order, for a table of places in `log` int64[r, 2] (id, time).

    Fresh ids are added to both. `events` int64[3, n] holds ids, times, and the time of now at each.
    `state` int64[5] holds the horizon, the greatest number of known ids, and three numbers that
    change: the newest time of now, the used length of the log, and the number of ids that were
    forgotten before their time.
    """
    horizon, most = state[0], state[1]
    for i in range(events.shape[1]):
        key, time = events[0, i], events[1, i]
        state[2] = max(state[2], events[2, i])
        oldest, used = state[2] - horizon, state[3]
        place = _place(table, key)
        at = table[place, 1]
        known = table[place, 0] != 0 and at >= used - most
        fresh[i] = not known or log[at, 1] < oldest
        if fresh[i]:
            table[place, 0] = key
            table[place, 1] = used
            log[used, 0] = key
            log[used, 1] = time
            if used >= most and log[used - most, 1] >= oldest:
                state[4] += 1
            state[3] = used + 1
