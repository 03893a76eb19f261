"""The log's clock: the time at which each record of a topic partition reached the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS

WINDOW = 31
"""Records whose stamps vote on the time. In a window of so many, that three quarters of the keys
are ahead has a probability of 1e-17 where a tenth of all records are, and of 1e-11 for a fifth."""

LEAST_VOTES = 3
"""Keys whose stamps move the clock; fewer do not outvote one that is wrong."""

QUORUM = 8
"""Keys that overrule a stamp: fewer could be all that is left of the time before a pause."""

TOLERANCE_MS = 10_000
"""How far a stamp may be ahead of the clock; and it, or an event, behind without being counted."""

# A stamp may also be ahead by so many times the distance from the lower quartile of the votes to
# their median, which is 8 of 31 records: the clock is 23 records behind the newest one, and a log
# that has one record an hour moves on by hours.
_SPREADS = 8

LATEST_MS = 1 << 52
"""Later than every time: year 144,683. No difference of such times overflows."""

# The rows of the state: some numbers, then by record the key (0 when it has a newer vote) and the
# stamp, then the votes in order.
_NUMBERS, _KEYS, _STAMPS, _RANKED = range(4)
_CLOCK, _SEEN, _VOTES, _AHEAD, _BEHIND = range(5)


@dataclass(frozen=True, slots=True)
class LogTimes:
    """The times of ``n`` records, in log order."""

    log_ms: Ints
    """int64[n]: when each reached the log; never before the clock."""
    clock_ms: Ints
    """int64[n]: the clock just after each; it never goes back."""
    ahead: int
    """Records whose stamps were ahead of the clock by more than is allowed."""
    behind: int
    """Records whose stamps were behind the clock by more than `TOLERANCE_MS`."""


class LogClock:
    """Tells the log's time from the stamps of its records alone, wherever batches end.

    Where the broker stamps the records, the clock is the greatest stamp so far, and that is also
    the time of each record.

    Where producers do, any stamp may be wrong. The last `WINDOW` records vote: each key has one
    vote, the stamp of its newest record. With `LEAST_VOTES` or more, the clock moves on to the
    lower quartile of the votes, if that is later: three quarters of the keys agree that this time
    has come. So the clock is never wrong while less than three quarters of the keys in any window
    are ahead, and follows the log, some 23 records behind, while no more than a quarter are
    behind. A record's time is its stamp, but

    - the clock, where the stamp is behind it: that time had passed when the record came;
    - the clock, where the stamp is ahead of it by more than `TOLERANCE_MS` and eight times the
      distance from the votes' lower quartile to their median (so that a log with few records is
      believed to move on in steps like those before), and `QUORUM` keys or more vote.

    After a pause that was much longer than the steps before, up to 15 records count as of the time
    before it, while `QUORUM` keys or more have come in the window.

    >>> clock = LogClock()
    >>> keys, by_producers = np.arange(1, 11), np.zeros(10, dtype=np.bool_)
    >>> stamps_ms = 1_700_000_000_000 + np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 3_540_000])
    >>> times = clock.advance(keys, stamps_ms, by_producers)
    >>> (times.log_ms - 1_700_000_000_000).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 2]
    >>> int(times.clock_ms[-1] - 1_700_000_000_000), times.ahead
    (2, 1)
    """

    def __init__(self) -> None:
        self._state: Ints = np.zeros((4, WINDOW), dtype=np.int64)
        self._state[_NUMBERS, _CLOCK] = LONG_AGO_MS

    @property
    def now_ms(self) -> int:
        """The time of the newest record; `LONG_AGO_MS` while it is not known."""
        return int(self._state[_NUMBERS, _CLOCK])

    def advance(self, keys: Ints, stamps_ms: Ints, by_broker: Bools) -> LogTimes:
        """Take ``n`` records, in log order.

        Parameters
        ----------
        keys
            int64[n]: the ids of their entities, none of them 0.
        stamps_ms
            int64[n].
        by_broker
            bool[n]: whether the broker stamped the record.
        """
        times_ms = np.empty((2, len(keys)), dtype=np.int64)
        numbers = self._state[_NUMBERS]
        numbers[_AHEAD] = numbers[_BEHIND] = 0
        _advance(self._state, keys, stamps_ms, by_broker, times_ms)
        return LogTimes(times_ms[0], times_ms[1], int(numbers[_AHEAD]), int(numbers[_BEHIND]))

    def freeze(self) -> StateView:
        """The state of now, for a snapshot."""
        state = self._state.copy()
        state[_NUMBERS, _AHEAD:] = 0
        return lambda: {"state": state}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the clock whose frozen `arrays` these are; none: of a file that had no clocks."""
        if arrays:
            self._state = arrays["state"].copy()


@lean_kernel
def _advance(state: Ints, keys: Ints, stamps_ms: Ints, by_broker: Bools, times_ms: Ints) -> None:
    numbers, ranked = state[_NUMBERS], state[_RANKED]
    for i in range(len(keys)):
        stamp = min(max(stamps_ms[i], 0), LATEST_MS)
        if by_broker[i]:
            numbers[_CLOCK] = max(numbers[_CLOCK], stamp)
            stamp = numbers[_CLOCK]
        else:
            _vote(state, keys[i], stamp)
            votes = numbers[_VOTES]
            quartile, median = ranked[votes // 4], ranked[votes // 2]
            if votes >= LEAST_VOTES:
                numbers[_CLOCK] = max(numbers[_CLOCK], quartile)
            clock = numbers[_CLOCK]
            if stamp < clock:
                if stamp < clock - TOLERANCE_MS:
                    numbers[_BEHIND] += 1
                stamp = clock
            elif votes >= QUORUM and stamp - clock > TOLERANCE_MS + _SPREADS * (median - quartile):
                numbers[_AHEAD] += 1
                stamp = clock
        times_ms[0, i] = stamp
        times_ms[1, i] = numbers[_CLOCK]


@lean_kernel
def _vote(state: Ints, key: int, stamp: int) -> None:
    """Count the vote of a record, in place of the vote of its key, and of the oldest record."""
    numbers, keys, ranked = state[_NUMBERS], state[_KEYS], state[_RANKED]
    at = numbers[_SEEN] % WINDOW
    numbers[_SEEN] += 1
    if keys[at] != 0:
        _withdraw(state, at)
    for j in range(WINDOW):
        if keys[j] == key:
            _withdraw(state, j)
            break
    keys[at] = key
    state[_STAMPS, at] = stamp
    place = numbers[_VOTES]
    while place > 0 and ranked[place - 1] > stamp:
        ranked[place] = ranked[place - 1]
        place -= 1
    ranked[place] = stamp
    numbers[_VOTES] += 1


@lean_kernel
def _withdraw(state: Ints, at: int) -> None:
    """Withdraw the vote of the record at `at`."""
    numbers, ranked = state[_NUMBERS], state[_RANKED]
    state[_KEYS, at] = 0
    stamp, place = state[_STAMPS, at], 0
    while ranked[place] != stamp:
        place += 1
    numbers[_VOTES] -= 1
    for j in range(place, numbers[_VOTES]):
        ranked[j] = ranked[j + 1]
