"""From the body of a request to the Kafka records of its events."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from freshrank.actors.errors import BadRecord, RequestError
from freshrank.serve.api.requests import decoded, may_be_whole, placed, with_whole_numbers


class EventCodec(Protocol):
    """How the records of a stream hold its events."""

    def record(self, document: bytes, now_ms: int, /) -> tuple[bytes, bytes]:
        """Key and value of the record of an event that is given as JSON at `now_ms`.

        Raises BadRecord, also where the event's time cannot be right by that clock.
        """
        ...

    def key(self, value: bytes, /) -> bytes:
        """The key of the event in a record's value; raises BadRecord."""
        ...

    def json(self, value: bytes, /) -> bytes:
        """The JSON of the event in a record's value of which `key` gave the key."""
        ...


_Events: TypeAlias = list[msgspec.Raw] | dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Events).decode


def records(body: bytes, codec: EventCodec, most: int, now_ms: int) -> list[tuple[bytes, bytes]]:
    """Key and value of one record for each event; `body` is one event or a list of events.

    `now_ms` is the time by the clock of this replica.

    Raises RequestError that names event and field, or that there is no event or more than `most`.
    """
    one_or_many = decoded(_decode, body)
    if not isinstance(one_or_many, list):
        return [_record(body, codec, now_ms, "")]
    if not 1 <= len(one_or_many) <= most:
        raise RequestError("events", f"from 1 to {most} at once, not {len(one_or_many)}")
    return [_record(bytes(raw), codec, now_ms, f"events[{i}]") for i, raw in enumerate(one_or_many)]


def _record(event: bytes, codec: EventCodec, now_ms: int, place: str) -> tuple[bytes, bytes]:
    try:
        try:
            return codec.record(event, now_ms)
        except BadRecord as error:
            if not may_be_whole(error.reason):
                raise
            return codec.record(with_whole_numbers(event), now_ms)
    except BadRecord as error:
        raise RequestError(*placed(error.reason, place)) from error
