"""Events that come by REST are checked and written to the topic of their stream."""

from __future__ import annotations

import asyncio
import re

from freshrank.actors.clock import Clock
from freshrank.actors.errors import BadRecord, RequestError
from freshrank.actors.protocols import RecordSink
from freshrank.serve.api.event_records import records
from freshrank.serve.api.known_names import is_unknown_field, names_at, with_known_names
from freshrank.serve.api.responses import EventsAnswer, Position
from freshrank.serve.scoring.served_pipeline import ServedPipeline

# The event in the place of an error, which is empty where one event was sent alone.
_EVENT = re.compile(r"^events\[\d+\]\.?")


class EventWriter:
    """Answers POST /v1/events."""

    def __init__(self, pipeline: ServedPipeline, sink: RecordSink, clock: Clock) -> None:
        self._pipeline = pipeline
        self._sink = sink
        self._clock = clock

    async def write(self, body: bytes, topic: str) -> EventsAnswer:
        """Check all events of `body`, one event or a list, then write all to a stream's `topic`.

        Raises RequestError, also where an event is larger than the topic takes, and Unavailable.
        Some may have been written then; sending all again is safe, because events are deduplicated
        by their ids.
        """
        stream, limits = self._pipeline.stream(topic), self._pipeline.limits
        try:
            found = records(body, stream.codec, limits.events, self._clock.now_ms())
        except RequestError as error:
            if not is_unknown_field(error.reason):
                raise
            raise with_known_names(
                error, lambda place: names_at(stream.schema, _EVENT.sub("", place))
            ) from error
        sent = (self._sink.send(topic, key, event) for key, event in found)
        try:
            positions = await asyncio.gather(*sent)
        except BadRecord as error:
            raise RequestError("events", error.reason, status=413) from error
        return EventsAnswer(
            len(found), [Position(partition, offset, topic) for partition, offset in positions]
        )
