"""Durations in pipelines and settings: a whole number and its unit, as in ``"30s"`` or ``"7d"``."""

import re

from freshrank.actors.errors import ConfigError

_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]+)(ms|s|m|h|d)")
# No clock that is right is further off; and sums of times stay within 64 bits.
_LONGEST_MS = 36_500 * 86_400_000
_FIX = 'Write a whole number and one of ms, s, m, h, d, as in "30s" or "7d".'


def is_duration(text: str) -> bool:
    """Whether `text` has the form of a duration.

    >>> is_duration("5m"), is_duration("5 minutes")
    (True, False)
    """
    return _DURATION.fullmatch(text) is not None


def duration_ms(text: str, place: str) -> int:
    """Milliseconds of a duration; `place` names the setting in the ConfigError.

    >>> duration_ms("5m", "window"), duration_ms("250ms", "pause")
    (300000, 250)
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigError(place, f"{text!r} is not a duration", _FIX)
    length = int(match[1]) * _UNIT_MS[match[2]]
    if length > _LONGEST_MS:
        raise ConfigError(place, f"{text!r} is longer than 100 years", 'Take "36500d" or less.')
    if length == 0:
        raise ConfigError(place, f"{text!r} is no time at all", _FIX)
    return length


def duration_text(length_ms: int) -> str:
    """The shortest text of a duration.

    >>> duration_text(300_000), duration_text(90_000), duration_text(250)
    ('5m', '90s', '250ms')
    """
    unit = [one for one in _UNIT_MS if length_ms % _UNIT_MS[one] == 0][-1]
    return f"{length_ms // _UNIT_MS[unit]}{unit}"
