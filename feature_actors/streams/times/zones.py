"""Time zones that a pipeline names."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from functools import lru_cache

from freshrank.actors.errors import ConfigError, nearest

# Times between which the clock changes of a zone are looked for, 1970 to 2100, and the step: since
# 1970 no zone has changed its clocks twice within six days.
_FROM_S, _UNTIL_S, _STEP_S = 0, 4_102_444_800, 3 * 86_400


def zone_of(name: object, place: str) -> zoneinfo.ZoneInfo:
    """The zone of that name. Raises ConfigError, which offers the nearest name."""
    try:
        return zoneinfo.ZoneInfo(name if isinstance(name, str) else "")
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        known = zoneinfo.available_timezones()
        near = nearest(str(name), known)
        fix = 'Give a name of the IANA database, as in "Europe/Berlin".'
        if near:
            fix = f"Did you mean {near!r}?"
        if not known:
            fix = "This machine has no zones: install the package tzdata."
        raise ConfigError(place, f"{name!r} is no time zone that is known here", fix) from error


def offset_ms(zone: str, at_ms: int) -> int:
    """By how much the clocks of a zone are ahead of UTC at a time of the years 1 to 9999.

    >>> offset_ms("Europe/Berlin", 0), offset_ms("America/New_York", 0)
    (3600000, -18000000)
    """
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    offset = moment.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset()
    return 0 if offset is None else int(offset.total_seconds() * 1000)


@lru_cache
def clock_changes(zone: str) -> tuple[tuple[int, int], ...]:
    """When the clocks of a zone change from 1970 to 2100: times, ms, and the `offset_ms` from each.

    The first is that of 1970-01-01 00:00 UTC, where nothing changes.

    >>> clock_changes("Asia/Kolkata")
    ((0, 19800000),)
    """
    found = [(_FROM_S * 1000, offset_ms(zone, _FROM_S * 1000))]
    for later in range(_FROM_S + _STEP_S, _UNTIL_S, _STEP_S):
        _, before = found[-1]
        offset = offset_ms(zone, later * 1000)
        if offset != before:
            low, high = later - _STEP_S, later
            while high - low > 1:
                middle = (low + high) // 2
                if offset_ms(zone, middle * 1000) == before:
                    low = middle
                else:
                    high = middle
            found.append((high * 1000, offset))
    return tuple(found)
