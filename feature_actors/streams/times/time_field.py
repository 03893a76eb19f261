"""What a stream declares of its event time: the field, its unit or its zone."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.times.units import TimeUnit
from freshrank.feature_actors.streams.times.zones import zone_of


@dataclass(frozen=True, slots=True)
class TimeField:
    """The field of an event that holds its time."""

    name: str
    kind: type[int] | type[str] | type[datetime.datetime] = int
    """An integer, an ISO-8601 text, or a time that msgspec reads of an RFC-3339 text."""
    unit: TimeUnit = TimeUnit.MILLISECONDS
    """Of an integer."""
    zone: zoneinfo.ZoneInfo | None = None
    """Of texts and times that name none."""

    @property
    def canonical(self) -> str:
        """Part of fingerprints: equal for fields whose times mean the same.

        The name alone stands for integers in milliseconds.
        """
        if self.kind is int:
            known = self.unit is TimeUnit.MILLISECONDS
            return self.name if known else f"{self.name} in {self.unit}"
        zone = "" if self.zone is None else f" in {self.zone.key}"
        return f"{self.name} as text{zone}"


def declared_time(fields: Fields, name: str, unit: object, zone: object, place: str) -> TimeField:
    """The time field of a stream whose schema has `fields`.

    Raises ConfigError where the field is none for a time, or the unit or zone does not fit it.
    """
    if unit not in list(TimeUnit):
        known = ", ".join(f'"{one}"' for one in TimeUnit)
        raise ConfigError(
            f"{place}.time_unit", f"{unit!r} is no unit of time", f"Take one of {known}."
        )
    moment = fields.moment(name, f"{place}.time")
    if moment is None:
        field = fields.require_mandatory(name, f"{place}.time", Kind.INTEGER, Kind.TEXT)
        if field.kind is Kind.INTEGER:
            return _of_integers(name, TimeUnit(str(unit)), zone, place)
        if field.choices:  # a few texts are no times
            fields.require(name, f"{place}.time", Kind.INTEGER)
    if unit != TimeUnit.MILLISECONDS:
        raise ConfigError(
            f"{place}.time_unit",
            f"the field {name!r} is a text, which has no unit",
            "Leave the unit out; it is for integers.",
        )
    if moment is not None and moment.zoned is False and zone is None:
        raise ConfigError(
            f"{place}.time_zone",
            f"the times of the field {name!r} name no zone",
            'Give the zone that they are in, as in time_zone="Europe/Berlin".',
        )
    known_zone = None if zone is None else zone_of(zone, f"{place}.time_zone")
    return TimeField(name, str if moment is None else datetime.datetime, zone=known_zone)


def _of_integers(name: str, unit: TimeUnit, zone: object, place: str) -> TimeField:
    if zone is not None:
        raise ConfigError(
            f"{place}.time_zone",
            f"the field {name!r} is an integer, which counts from 1970 in UTC",
            "Leave the zone out; it is for texts that name none.",
        )
    return TimeField(name, unit=unit)
