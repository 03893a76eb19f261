"""The JSON schema of what POST /v1/events takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freshrank.serve.http.openapi import relinked
from freshrank.serve.http.route_spec import JsonSchema
from freshrank.serve.scoring.served_pipeline import EventStream


def events_schema(streams: Sequence[EventStream], most: int) -> JsonSchema:
    """One event of a stream, or a list of its events, at most `most`.

    The schema of an event is a definition, ``<topic>.event``, and those that it refers to are
    ``<topic>.<name>``: two streams may each have one of a name, which answers may have, too.
    """
    bodies: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for stream in streams:
        own = _under_topic(stream)
        definitions |= own.pop("$defs", {}) | {f"{stream.topic}.event": own}
        event = {"$ref": f"#/$defs/{stream.topic}.event"}
        bodies += [event, {"type": "array", "items": event, "minItems": 1, "maxItems": most}]
    return JsonSchema({"anyOf": bodies}, definitions)


def _under_topic(stream: EventStream) -> dict[str, Any]:
    """The schema of an event; the names of its ``$defs`` begin with the topic."""
    event: dict[str, Any] = relinked(
        dict(stream.schema), lambda name: f"#/$defs/{stream.topic}.{name}"
    )
    if "$defs" in event:
        own = {f"{stream.topic}.{name}": schema for name, schema in event["$defs"].items()}
        event["$defs"] = own
    return event
