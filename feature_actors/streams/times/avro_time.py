"""The event time of Avro records: its logical types."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.times.time_field import TimeField
from freshrank.feature_actors.streams.times.units import TimeUnit

# By the logical type of an event time, the unit of its integers. Other types have none.
_UNITS = {
    f"{local}timestamp-{name}": unit
    for local in ("", "local-")
    for name, unit in (
        ("millis", TimeUnit.MILLISECONDS),
        ("micros", TimeUnit.MICROSECONDS),
        ("nanos", TimeUnit.NANOSECONDS),
    )
}
# The logical types that fastavro reads as a `datetime` with a zone, by units a second.
_MOMENTS = {"timestamp-millis": 1_000, "timestamp-micros": 1_000_000}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class AvroTime:
    """The field of the event time, as the Avro schemas of a stream have it.

    The rows of a table have none: `time` is None.
    """

    def __init__(self, event_type: type[msgspec.Struct], time: TimeField | None) -> None:
        names = {one.name: one.encode_name for one in msgspec.structs.fields(event_type)}
        self._time = time
        self._name = None if time is None else names[time.name]

    @property
    def kept(self) -> str | None:
        """The field whose logical type is read as a `datetime`, where there is one."""
        moments = self._time is not None and self._time.kind is datetime.datetime
        return self._name if moments else None

    def check(self, types: Mapping[str, Any], place: str) -> None:
        """Raise ConfigError where the type that the Avro schema gives the field is another."""
        if self._time is None or self._name is None:
            return
        logical = _logical_type(types.get(self._name))
        if logical is None or logical in _readable(self._time):
            return
        fix = "Give a field that is a timestamp-millis, a timestamp-micros, or a string."
        if self._time.kind is int:
            unit = _UNITS.get(logical)
            fix = f'Declare Stream(time_unit="{unit}").' if unit else "Give a field of a timestamp."
        raise ConfigError(
            place, f"the event time {self._name!r} is a {logical}, not {_declared(self._time)}", fix
        )

    def written(self, event: msgspec.Struct, schema: Mapping[str, Any]) -> dict[str, int]:
        """The field of an event as the integer that a record of `schema` holds; else nothing."""
        if self._time is None or self._name is None:
            return {}
        types = {one["name"]: one["type"] for one in schema["fields"]}
        per_second = _MOMENTS.get(_logical_type(types.get(self._name)) or "")
        moment = getattr(event, self._time.name)
        if per_second is None or not isinstance(moment, datetime.datetime):
            return {}
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._time.zone)
        return {self._name: (moment - _EPOCH) // datetime.timedelta(seconds=1 / per_second)}


def _readable(time: TimeField) -> list[str]:
    """The logical types that an event time may have."""
    if time.kind is int:
        return [logical for logical, unit in _UNITS.items() if unit is time.unit]
    return list(_MOMENTS) if time.kind is datetime.datetime else []


def _declared(time: TimeField) -> str:
    return f"in {time.unit.word}" if time.kind is int else "a time with a zone"


def without_logical_types(schema: Any, kept: str | None) -> Any:
    """An Avro schema without its logical types, but for that of the event's field `kept`."""
    if isinstance(schema, list):
        return [without_logical_types(part, None) for part in schema]
    if not isinstance(schema, Mapping):
        return schema
    found = {
        name: without_logical_types(part, None)
        for name, part in schema.items()
        if name != "logicalType"
    }
    if kept is not None and isinstance(schema.get("fields"), list):
        found["fields"] = [
            one
            if isinstance(one, Mapping) and one.get("name") == kept
            else without_logical_types(one, None)
            for one in schema["fields"]
        ]
    return found


def _logical_type(kind: Any) -> str | None:
    """The logical type of a type, or of the first member of a union that has one."""
    members = kind if isinstance(kind, list) else [kind]
    found = (one.get("logicalType") for one in members if isinstance(one, Mapping))
    return next((one for one in found if one is not None), None)
