"""Event times that cannot be right: in another unit than milliseconds, or too far ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.records import RejectKind

# A time this close to the log's may be right; one further away that is this close when it is read
# in another unit is in that unit.
_PLAUSIBLE_MS = 5 * 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    ms: float
    """Milliseconds in one."""
    fix: str


_UNITS = (
    _Unit("seconds", 1e3, "multiply by 1000"),
    _Unit("microseconds", 1e-3, "divide by 1000"),
    _Unit("nanoseconds", 1e-6, "divide by 1000000"),
)


@dataclass(frozen=True, slots=True)
class TimeFault:
    """An event time that cannot be right."""

    place: int
    """Index of the event."""
    kind: RejectKind
    reason: str
    """The unit and the fix, or by how much the time is ahead."""


def time_faults(times: Ints, log_ms: Ints, max_ahead_ms: int) -> Iterator[TimeFault]:
    """The faults of event times int64[n], where `log_ms` int64[n] are the times of their records.

    A time in another unit is told by its distance from the log's time. Times of the past are no
    fault, however old.

    >>> log_ms = np.array([1_700_000_000_000] * 3)
    >>> times = np.array([1_700_000_000, 1_600_000_000_000, 1_700_000_009_000])
    >>> for fault in time_faults(times, log_ms, max_ahead_ms=5_000):
    ...     print(fault.place, fault.reason)
    0 1700000000 is a time in seconds, not in milliseconds: multiply by 1000
    2 1700000009000 is 9.0 s ahead
    """
    # As float64: no difference of wild times overflows, and plausible ones are exact.
    given, near = times.astype(np.float64), log_ms.astype(np.float64)
    ahead = given - near
    too_far = ahead > max_ahead_ms
    units: dict[int, _Unit] = {}
    far = np.flatnonzero(np.abs(ahead) > _PLAUSIBLE_MS)
    for unit in _UNITS if len(far) else ():
        close = np.abs(given[far] * unit.ms - near[far]) <= _PLAUSIBLE_MS
        units |= dict.fromkeys(far[close].tolist(), unit)
    for place in sorted({*np.flatnonzero(too_far).tolist(), *units}):
        if place in units:
            unit = units[place]
            what = f"{times[place]} is a time in {unit.name}, not in milliseconds: {unit.fix}"
            yield TimeFault(place, RejectKind.TIME_UNIT, what)
        else:
            what = f"{times[place]} is {ahead[place] / 1000:.1f} s ahead"
            yield TimeFault(place, RejectKind.TIME_AHEAD, what)
