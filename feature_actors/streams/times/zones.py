"""Time zones that a pipeline names."""

from __future__ import annotations

import zoneinfo

from freshrank.actors.errors import ConfigError, nearest


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
