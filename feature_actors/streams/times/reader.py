"""Event times of decoded events, in milliseconds."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.records import RejectKind
from freshrank.feature_actors.streams.times.faults import TimeFault, time_faults
from freshrank.feature_actors.streams.times.time_field import TimeField
from freshrank.feature_actors.streams.times.units import TimeUnit

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS = datetime.timedelta(milliseconds=1)
# Characters of a text that a reason quotes: an ISO-8601 time has fewer.
_QUOTED = 60


@dataclass(frozen=True, slots=True)
class EventTimes:
    """The times of ``n`` events."""

    ms: Ints
    """int64[n]: milliseconds since the Unix epoch, rounded down; 0 for those without."""
    unreadable: Mapping[int, TimeFault]
    """By their places, events of which no time can be read."""
    given: Ints
    """int64[n]: the integers of the events, in `unit`; of texts, `ms`."""
    unit: TimeUnit | None
    """None for texts."""

    def faults(self, log_ms: Ints, max_ahead_ms: int) -> Iterator[TimeFault]:
        """All that cannot be used, where `log_ms` int64[n] are the times of the records."""
        yield from self.unreadable.values()
        yield from time_faults(self.given, log_ms, max_ahead_ms, self.unit)


class TimeReader:
    """Reads the event times of a stream's events.

    A text is of ISO 8601, as `datetime.fromisoformat` reads it. One that names no zone is in the
    declared zone: where clocks are set back it is the first of the two moments that have this local
    time, and where they are set forward it is read with the offset from before.

    >>> from zoneinfo import ZoneInfo
    >>> class Play(msgspec.Struct):
    ...     at: str
    >>> berlin = TimeReader(TimeField("at", str, zone=ZoneInfo("Europe/Berlin")))
    >>> berlin.read([Play("1970-01-01T01:00:00.005"), Play("1970-01-01T00:00:01Z")]).ms
    array([   5, 1000])
    """

    def __init__(self, time: TimeField) -> None:
        self._time = time
        self._get: Callable[[msgspec.Struct], Any] = attrgetter(time.name)

    def read(self, events: Sequence[msgspec.Struct]) -> EventTimes:
        """The times of `events`."""
        given = map(self._get, events)
        if self._time.kind is int:
            times = np.fromiter(given, np.int64, len(events))
            return EventTimes(self._time.unit.to_ms(times), {}, times, self._time.unit)
        unreadable: dict[int, TimeFault] = {}
        times = np.zeros(len(events), dtype=np.int64)
        for place, value in enumerate(given):
            try:
                times[place] = (self._moment(value) - _EPOCH) // _MS
            except _NoZone as error:
                unreadable[place] = TimeFault(place, RejectKind.TIME_ZONE, str(error))
            except ValueError as error:
                unreadable[place] = TimeFault(place, RejectKind.INVALID, str(error))
        return EventTimes(times, unreadable, times, None)

    def again(self, read_ms: Ints, integers: Callable[[str], Ints]) -> EventTimes:
        """The times of events that were `read_ms` before; `integers` gives a field of them."""
        if self._time.kind is not int:
            return EventTimes(read_ms, {}, read_ms, None)
        return EventTimes(read_ms, {}, integers(self._time.name), self._time.unit)

    def _moment(self, value: str | datetime.datetime) -> datetime.datetime:
        """The moment of an event, with a zone. Raises ValueError."""
        moment = _parsed(value) if isinstance(value, str) else value
        if moment.tzinfo is None:
            if self._time.zone is None:
                raise _NoZone(
                    f"{_quoted(value)} names no time zone: write one (Z, +02:00), or declare "
                    "Stream(time_zone=...)"
                )
            moment = moment.replace(tzinfo=self._time.zone)
        if moment < _EPOCH:
            raise ValueError(f"{_quoted(value)} is before 1970")
        return moment


class _NoZone(ValueError):
    """A text or time that names no zone, where none is declared."""


def _parsed(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(
            f"{_quoted(text)} is no time of ISO 8601, as 2024-05-17T09:30:00Z is"
        ) from error


def _quoted(value: str | datetime.datetime) -> str:
    return repr(str(value)[:_QUOTED])
