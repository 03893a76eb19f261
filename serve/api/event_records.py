"""From the body of a request to the Kafka records of its events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from freshrank.actors.errors import BadRecord, RequestError
from freshrank.serve.api.requests import decoded, may_be_whole, placed, with_whole_numbers

EventKey: TypeAlias = Callable[[bytes], bytes]
"""Checks one event's JSON and gives the key of its record; raises BadRecord."""

_Events: TypeAlias = list[msgspec.Raw] | dict[str, msgspec.Raw]
_decode = msgspec.json.Decoder(_Events).decode


def records(body: bytes, key: EventKey, most: int) -> list[tuple[bytes, bytes]]:
    """Key and value of one record for each event; `body` is one event or a list of events.

    Raises RequestError that names event and field, or that there is no event or more than `most`.
    """
    one_or_many = decoded(_decode, body)
    if not isinstance(one_or_many, list):
        return [_record(body, key, "")]
    if not 1 <= len(one_or_many) <= most:
        raise RequestError("events", f"from 1 to {most} at once, not {len(one_or_many)}")
    return [_record(bytes(raw), key, f"events[{i}]") for i, raw in enumerate(one_or_many)]


def _record(event: bytes, key: EventKey, place: str) -> tuple[bytes, bytes]:
    try:
        try:
            return key(event), event
        except BadRecord as error:
            if not may_be_whole(error.reason):
                raise
            event = with_whole_numbers(event)
            return key(event), event
    except BadRecord as error:
        raise RequestError(*placed(error.reason, place)) from error
