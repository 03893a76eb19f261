"""Numbers derived from an event: the bucket of a number, the hour and the day of its time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Doubles, Ints
from freshrank.feature_actors.streams.expressions.numbers import (
    NumberExpression,
    Numeric,
    OfNumber,
    number_of,
)
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns
from freshrank.feature_actors.streams.times.zones import offset_ms, zone_of

# More boundaries than this make a row of many kilobytes: a typing error rather than a wish.
_MOST_BOUNDARIES = 255

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

# The epoch was a Thursday, the day 3 of a week that begins with Monday as 0.
_EPOCH_DAY = 3

# Clocks of a zone change at a quarter of an hour in UTC (everywhere since 1973).
_QUARTER_MS = 900_000

# The first and the last time whose offset is looked up: more than a day within the years 1 and
# 9999, which are Python's. An event may carry any time; a wilder one has the clocks of the nearest.
_FIRST_MS, _LAST_MS = -62_135_500_000_000, 253_402_200_000_000

# Quarters of an hour whose offset is remembered: a month of one zone.
_REMEMBERED = 3_000


def bucket(of: Numeric, boundaries: Sequence[float]) -> NumberExpression:
    """The number of the range that a value lies in: 0 below the first of ascending boundaries.

    A value at a boundary lies above it; a missing one is missing. For values 5, 10 and 70 and
    boundaries 10 and 50 it is 0, 1 and 2.

    >>> str(bucket("price", [10, 50]))
    'bucket(price; 10.0, 50.0)'
    """
    check_boundaries(boundaries, "bucket.boundaries")
    return Bucket(number_of(of), tuple(map(float, boundaries)))


def hour_of_day(zone: str = "UTC") -> NumberExpression:
    """The hour of the event's time, 0 to 23, by the clocks of `zone`.

    `zone` is a name of the tz database, whose rules are those of the machine that reads events.

    >>> str(hour_of_day("Europe/Berlin") < 6)
    "(hour_of_day('Europe/Berlin') < 6)"
    """
    return LocalTime("hour_of_day", zone)


def day_of_week(zone: str = "UTC") -> NumberExpression:
    """The day of the event's time in its week, 0 (Monday) to 6, by the clocks of `zone`.

    >>> str(day_of_week() >= 5)
    "(day_of_week('UTC') >= 5)"
    """
    return LocalTime("day_of_week", zone)


@dataclass(frozen=True, eq=False)
class Bucket(OfNumber):
    """The number of boundaries that a number is not below."""

    boundaries: tuple[float, ...]

    def __str__(self) -> str:
        return f"bucket({self.inner}; {', '.join(map(repr, self.boundaries))})"

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        numbers = self.inner.evaluate(columns)
        found = np.searchsorted(self.boundaries, numbers, side="right").astype(np.float64)
        found[np.isnan(numbers)] = math.nan
        return found


@dataclass(frozen=True, eq=False)
class LocalTime(NumberExpression):
    """The hour or the day of the event's time in a zone."""

    part: str
    zone: str

    def __str__(self) -> str:
        return f"{self.part}({self.zone!r})"

    def fields_read(self) -> frozenset[str]:
        """None: each event has a time."""
        return frozenset()

    def evaluate(self, columns: FieldColumns) -> Doubles:
        """float64[n]."""
        local = columns.event_times_ms
        if self.zone != "UTC":
            local = local + _offsets_ms(self.zone, local)
        if self.part == "hour_of_day":
            found = local // _HOUR_MS % 24
        else:
            found = (local // _DAY_MS + _EPOCH_DAY) % 7
        return found.astype(np.float64)

    def check(self, fields: Fields, place: str) -> None:
        """Raise ConfigError for an unknown zone."""
        if self.zone != "UTC":
            zone_of(self.zone, f"{place} {self}")


def check_boundaries(boundaries: object, place: str) -> None:
    """Raise ConfigError unless they are some ascending finite numbers."""
    fix = "Write ascending numbers, as in [10, 50]."
    if not isinstance(boundaries, Sequence) or not 1 <= len(boundaries) <= _MOST_BOUNDARIES:
        raise ConfigError(
            place, f"{boundaries!r} is no list of 1 to {_MOST_BOUNDARIES} numbers", fix
        )
    for one in boundaries:
        if not isinstance(one, int | float) or not math.isfinite(one):
            raise ConfigError(place, f"{one!r} is no finite number", fix)
    for before, after in itertools.pairwise(boundaries):
        if not before < after:
            raise ConfigError(place, f"{after!r} is not above {before!r}", fix)


def _offsets_ms(zone: str, times_ms: Ints) -> Ints:
    """int64[n]: by how much the clocks of a zone are ahead of UTC."""
    known_ms = np.clip(times_ms, _FIRST_MS, _LAST_MS)
    quarters, places = np.unique(known_ms // _QUARTER_MS, return_inverse=True)
    offsets = [_offset_of_quarter(zone, quarter) for quarter in quarters.tolist()]
    return np.array(offsets, dtype=np.int64)[places]


@lru_cache(maxsize=_REMEMBERED)
def _offset_of_quarter(zone: str, quarter: int) -> int:
    return offset_ms(zone, quarter * _QUARTER_MS)
