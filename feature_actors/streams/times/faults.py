"""Event times that cannot be right: in another unit than the declared one, or too far ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.records import RejectKind
from freshrank.feature_actors.streams.times.units import TimeUnit

# A time this close to the log's may be right; one further away that is this close when it is read
# in another unit is in that unit.
_PLAUSIBLE_MS = 5 * 365 * 86_400_000


@dataclass(frozen=True, slots=True)
class TimeFault:
    """An event time that cannot be used."""

    place: int
    """Index of the event."""
    kind: RejectKind
    reason: str
    """The unit and the fix, by how much the time is ahead, or why it cannot be read."""


def time_faults(
    times: Ints, log_ms: Ints, max_ahead_ms: int, unit: TimeUnit | None = TimeUnit.MILLISECONDS
) -> Iterator[TimeFault]:
    """The faults of event times int64[n], where `log_ms` int64[n] are the times of their records.

    The times are integers in `unit`; None: in milliseconds, and none can be in another unit. A time
    in another unit is told by its distance from the log's time. Times of the past are no fault,
    however old.

    >>> log_ms = np.array([1_700_000_000_000] * 3)
    >>> times = np.array([1_700_000_000, 1_600_000_000_000, 1_700_000_009_000])
    >>> for fault in time_faults(times, log_ms, max_ahead_ms=5_000):
    ...     print(fault.place, fault.reason)
    0 1700000000 is a time in seconds, not in milliseconds: multiply by 1000
    2 1700000009000 is 9.0 s ahead
    """
    # As float64: no difference of wild times overflows, and plausible ones are exact.
    times_ms = times if unit is None else unit.to_ms(times)
    ahead = times_ms.astype(np.float64) - log_ms.astype(np.float64)
    if (
        len(ahead)
        and ahead.min() >= -_PLAUSIBLE_MS
        and ahead.max() <= min(max_ahead_ms, _PLAUSIBLE_MS)
    ):
        return  # nearly always: the rest costs as much as decoding a few events
    others = {} if unit is None else _in_other_units(times, log_ms, ahead, unit)
    for place in sorted({*np.flatnonzero(ahead > max_ahead_ms).tolist(), *others}):
        if place in others:
            what = f"{times[place]} is a time in {others[place]}"
            yield TimeFault(place, RejectKind.TIME_UNIT, what)
        else:
            what = f"{times[place]} is {ahead[place] / 1000:.1f} s ahead"
            yield TimeFault(place, RejectKind.TIME_AHEAD, what)


def _in_other_units(times: Ints, log_ms: Ints, ahead: Doubles, unit: TimeUnit) -> dict[int, str]:
    """By their places, the times that are near the log's in another unit: the unit and the fix."""
    far = np.flatnonzero(np.abs(ahead) > _PLAUSIBLE_MS)
    found: dict[int, str] = {}
    for other in TimeUnit if len(far) else ():
        if other is unit:
            continue
        read_ms = times[far].astype(np.float64) * (1e3 / other.per_second)
        close = np.abs(read_ms - log_ms[far].astype(np.float64)) <= _PLAUSIBLE_MS
        what = f"{other.word}, not in {unit.word}: {other.conversion_to(unit)}"
        found |= dict.fromkeys(far[close].tolist(), what)
    return found
