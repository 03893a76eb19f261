"""The JSON schema of what POST /v1/events takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freshrank.serve.http.openapi import relinked
from freshrank.serve.http.route_spec import JsonSchema
from freshrank.serve.scoring.served_pipeline import EventStream


def events_schema(streams: Sequence[EventStream], most: int) -> JsonSchema:
    """One event of a stream, or a list of its events, at most `most`."""
    bodies: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for stream in streams:
        event = _with_own_names(stream, definitions)
        definitions |= event.pop("$defs", {})
        events = {"type": "array", "items": event, "minItems": 1, "maxItems": most}
        bodies += [event, events]
    return JsonSchema({"anyOf": bodies}, definitions)


def _with_own_names(stream: EventStream, taken: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an event; those of its ``$defs`` that are in `taken` get other names."""
    own = stream.schema.get("$defs", {})
    assert isinstance(own, Mapping)
    names = {name: f"{stream.topic}.{name}" if name in taken else name for name in own}
    event: dict[str, Any] = relinked(dict(stream.schema), lambda name: f"#/$defs/{names[name]}")
    if own:
        event["$defs"] = {names[name]: event["$defs"][name] for name in own}
    return event
