"""The formats of records: how the bytes of a record's value hold an event. JSON is the default."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields
from freshrank.feature_actors.streams.times.time_field import TimeField

UNREADABLE = (ValueError, TypeError, RecursionError)
"""The errors of `BoundFormat.decode`. Those of msgspec and of bad UTF-8 are ValueErrors; None in
place of bytes is a TypeError, and JSON that is nested too deeply a RecursionError."""


class BoundFormat(Protocol):
    """A format with the type of its events."""

    def decode(self, value: bytes, /) -> msgspec.Struct:
        """The event in a record's value, checked. Raises one of `UNREADABLE`."""
        ...

    def reason(self, value: bytes, error: Exception) -> str:
        """What is wrong with a value for which `decode` raised `error`; names the field."""
        ...

    def encode(self, event: msgspec.Struct, document: bytes) -> bytes:
        """The record's value for an event that was posted as the JSON `document`.

        Raises one of `UNREADABLE` where the format cannot hold the event.
        """
        ...

    def to_json(self, value: bytes) -> bytes:
        """The JSON of the event in a value that `decode` accepts."""
        ...


class RecordFormat(Protocol):
    """A format of records: any object with `bind_events`.

    ``Stream(format=...)`` and ``Table(format=...)`` name one.
    """

    def bind_events(
        self, event_type: type[msgspec.Struct], time: TimeField | None, place: str
    ) -> BoundFormat:
        """The format for events of `event_type`, whose event time is in the field `time`.

        The rows of a table are such events without a time: None.

        Raises ConfigError at `place` where the format cannot hold them.
        """
        ...


def bind_format(
    form: RecordFormat, event_type: type[msgspec.Struct], time: TimeField | None, place: str
) -> BoundFormat:
    """`form` with the type of its events, as its `bind_events` gives it.

    Raises ConfigError at `place`, also for what is no format.
    """
    if isinstance(form, type) or not hasattr(form, "bind_events"):
        raise ConfigError(place, f"{form!r} is no format", "Write Json() or Avro(schema).")
    return form.bind_events(event_type, time, place)


# The form of msgspec's message about a text that a field of the event may not have.
_NO_CHOICE = re.compile(r"(?P<what>Invalid enum value .*) - at `\$\.(?P<path>[^`]+)`", re.DOTALL)
# Which element of a list msgspec's message is about.
_PLACE = re.compile(r"\[\d+\]")


@dataclass(frozen=True)
class Json:
    """A record's value is the event as a JSON object.

    Fields that the schema does not name are ignored; of a field that is named twice the last
    counts. NaN and Infinity are no JSON numbers.

    >>> class Play(msgspec.Struct):
    ...     song: str
    ...     at: int
    >>> plays = Json().bind_events(Play, TimeField("at"), "Stream('plays')")
    >>> plays.decode(b'{"song": "so what", "at": 5, "device": "phone"}')
    Play(song='so what', at=5)
    """

    def bind_events(
        self, event_type: type[msgspec.Struct], time: TimeField | None, place: str
    ) -> BoundFormat:
        """JSON objects of `event_type`; any type can be held."""
        return _BoundJson(event_type, Fields(event_type, place).choices_in_json())


class _BoundJson:
    def __init__(
        self, event_type: type[msgspec.Struct], choices: Mapping[str, tuple[str | int, ...]]
    ) -> None:
        self._choices = choices
        # Not a method that calls it: ten thousand events are decoded per batch.
        self.decode: Callable[[bytes], msgspec.Struct] = msgspec.json.Decoder(event_type).decode

    def reason(self, value: bytes, error: Exception) -> str:
        if isinstance(error, RecursionError):
            return "JSON is nested too deeply"
        malformed = isinstance(error, msgspec.DecodeError)
        if malformed and not isinstance(error, msgspec.ValidationError):
            name = _not_finite(value)
            if name is not None:
                return f"{name}: NaN and Infinity are not numbers"
        return self._with_choices(str(error))

    def _with_choices(self, reason: str) -> str:
        """`reason`, and where a field has none of its values, those that it may have."""
        found = _NO_CHOICE.fullmatch(reason)
        path = _PLACE.sub("[]", found["path"]) if found else ""
        choices = self._choices.get(path, ())
        if found is None or not choices:
            return reason
        listed = " or ".join(map(repr, choices))
        return f"{found['what']}, it is {listed} - at `$.{found['path']}`"

    def encode(self, event: msgspec.Struct, document: bytes) -> bytes:
        return document

    def to_json(self, value: bytes) -> bytes:
        return value


def _not_finite(value: bytes) -> str | None:
    """The field that holds a NaN or Infinity, where that is all that keeps it from being JSON."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    for name, content in document.items():
        if isinstance(content, float) and not math.isfinite(content):
            return str(name)
    return None
