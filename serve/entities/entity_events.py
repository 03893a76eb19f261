"""The last events of an entity, read back from the end of its partition, for support.

Each request opens a reader without a consumer group, and closes it when it is answered. A scan is
bounded by records and by time, because the entity may be idle.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec

from freshrank.actors.clock import Clock
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, RequestError, Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.protocols import EventSource
from freshrank.actors.records import RecordBatch
from freshrank.serve.api.responses import EntityEvent, EntityEventsAnswer, ScannedTopic
from freshrank.serve.scoring.served_pipeline import (
    EventStream,
    OriginalRecord,
    ServedPipeline,
)

# Records of a topic that a request scans: decoding them takes about a tenth of a second.
MAX_SCANNED = 50_000
# Records of the first step back; each further step is twice as long, up to the longest.
FIRST_STEP, LONGEST_STEP = 1_000, 8_000
# Copies that a record holds at most, about; how many it does is known after the first step.
_COPIES = 100
# Records that are decoded between two polls, at which the event loop scores: about a millisecond.
_POLL_RECORDS = 500
# Seconds of a poll: twelve times as long as a fetch that finds no record.
_POLL_S = 0.25
# Polls without a record after which a step is over: the first may have waited for the fetch that
# was under way to another offset.
_EMPTY_POLLS = 2
# Seconds to reach the broker, and seconds to scan a topic.
CONNECT_TIMEOUT_S, SCAN_TIMEOUT_S = 5.0, 2.0
# Requests that scan at the same time in a replica; each fetches up to 4 MB at once.
MAX_CONCURRENT = 2


class EntityEvents:
    """Answers GET /v1/entities/{entity}/{id}/events."""

    def __init__(self, pipeline: ServedPipeline, connectors: Connectors) -> None:
        self._pipeline = pipeline
        self._connectors = connectors
        self._ongoing = 0

    async def last(self, entity: str, key: str, limit: int) -> EntityEventsAnswer:
        """The newest `limit` events of `key`, newest first, and the records that were scanned.

        Raises RequestError for another entity, or while `MAX_CONCURRENT` requests scan, and
        Unavailable when the broker is away.
        """
        self._pipeline.check_entity(entity)
        key = self._pipeline.canonical_key(entity, key, "id")
        if self._ongoing >= MAX_CONCURRENT:
            reason = f"{MAX_CONCURRENT} requests read events already"
            raise RequestError("server", reason, status=503)
        self._ongoing += 1
        try:
            streams = self._pipeline.streams
            found = [await self._of_stream(stream, key.encode(), limit) for stream in streams]
        finally:
            self._ongoing -= 1
        events = sorted(
            (event for _, events in found for event in events),
            key=lambda event: (event.timestamp_ms, event.offset),
            reverse=True,
        )
        return EntityEventsAnswer(entity, key, events[:limit], [scanned for scanned, _ in found])

    async def _of_stream(
        self, stream: EventStream, key: bytes, limit: int
    ) -> tuple[ScannedTopic, list[EntityEvent]]:
        topic = stream.log_topic or stream.topic
        partition = partition_of(key, self._connectors.partitions, stream.partitioner)
        source = self._connectors.source()
        async with _reading(source, topic, partition) as (oldest, end):
            scan = _Scan(source, topic, partition, self._connectors.clock)
            scan.held = 1 if stream.originals is None else _COPIES
            return await scan.back(oldest, end, limit, _Matching(stream, key))


@asynccontextmanager
async def _reading(
    source: EventSource, topic: str, partition: int
) -> AsyncIterator[tuple[int, int]]:
    """Open `source`; gives the bounds of the partition. Raises Unavailable."""
    try:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await source.start({(topic, partition): None})
                bounds = await source.bounds(topic, partition)
        except TimeoutError as error:
            raise Unavailable("kafka", f"no answer in {CONNECT_TIMEOUT_S} s") from error
        yield bounds
    finally:
        await source.stop()


class _Matching:
    """Selects the events of a key. A record that was copied more than once is given once."""

    def __init__(self, stream: EventStream, key: bytes) -> None:
        self._stream = stream
        self._key = key
        self._copied: set[tuple[int, int]] = set()
        self.seen = 0
        """Records that were looked at; of one that holds copies, these."""
        self.forgotten = False
        """Whether a tombstone of the key was read."""

    def add(
        self, batch: RecordBatch, begin: int, end: int, events: list[EntityEvent]
    ) -> list[EntityEvent]:
        """`events`, and those of the key with ``begin <= offset < end``, in their order.

        Those from before a tombstone of the key are left out.
        """
        for place, offset in enumerate(batch.offsets.tolist()):
            if not begin <= offset < end:
                continue
            records = self._records(batch, place)
            self.seen += len(records)
            for record in records:
                if record.value is None:
                    if batch.keys and batch.keys[place] == self._key:
                        self.forgotten, events = True, []
                    continue
                event = self._event(record, record.value)
                if event is not None:
                    events.append(event)
        return events

    def _records(self, batch: RecordBatch, place: int) -> Sequence[OriginalRecord]:
        """The records of the stream's topic; none where it holds no copies of any."""
        value = batch.values[place]
        if self._stream.originals is None:
            offset, timestamp_ms = batch.offsets[place], batch.timestamps_ms[place]
            return [OriginalRecord(batch.partition, int(offset), int(timestamp_ms), value)]
        try:
            return self._stream.originals(value or b"")
        except BadRecord:  # the shard has written it to the dead-letter topic
            return ()

    def _event(self, record: OriginalRecord, value: bytes) -> EntityEvent | None:
        codec, (partition, offset, timestamp_ms, _) = self._stream.codec, record
        try:
            if (partition, offset) in self._copied or codec.key(value) != self._key:
                return None
        except BadRecord:  # the shard has written it to the dead-letter topic
            return None
        if self._stream.originals is not None:
            self._copied.add((partition, offset))
        event = msgspec.Raw(codec.json(value))
        return EntityEvent(self._stream.topic, partition, offset, timestamp_ms, event)


class _Scan:
    """Reads a partition backwards, in steps that are each read forwards."""

    def __init__(self, source: EventSource, topic: str, partition: int, clock: Clock) -> None:
        self._source = source
        self._topic = topic
        self._partition = partition
        self._clock = clock
        self._deadline = clock.monotonic() + SCAN_TIMEOUT_S
        self._begin_ms: int | None = None
        self.held = 1
        """How many records of the stream one of the topic holds, about."""

    async def back(
        self, oldest: int, end: int, limit: int, matching: _Matching
    ) -> tuple[ScannedTopic, list[EntityEvent]]:
        """The newest `limit` matching events, oldest first, of the records from `oldest` to `end`.

        Of those from before a tombstone there are none. A step that is not finished in time is left
        out as a whole.
        """
        begin, length, seen = end, FIRST_STEP // self.held, 0
        events: list[EntityEvent] = []
        while begin > oldest and seen < MAX_SCANNED and len(events) < limit:
            if matching.forgotten:
                break
            step_begin = max(oldest, begin - length)
            step = await self._step(step_begin, begin, matching)
            if step is None:
                break
            begin, seen = step_begin, max(end - step_begin, matching.seen)
            self.held = max(1, seen // (end - begin))
            length = max(1, min(2 * length, LONGEST_STEP // self.held))
            events = step + events
        scanned = ScannedTopic(
            self._topic, self._partition, begin, end, self._begin_ms, begin <= oldest
        )
        return scanned, events[-limit:]

    async def _step(self, begin: int, end: int, matching: _Matching) -> list[EntityEvent] | None:
        """The matching events with ``begin <= offset < end``; None when the time is over.

        A tombstone ends what was found before it.
        """
        self._source.seek(self._topic, self._partition, begin)
        events: list[EntityEvent] = []
        begin_ms: int | None = None
        empty, reached = 0, begin
        # Not each offset has a record: the log may hold none of the last offsets of a step.
        while reached < end and empty < _EMPTY_POLLS:
            if self._clock.monotonic() >= self._deadline:
                return None
            batches = await self._source.poll(max(1, _POLL_RECORDS // self.held), _POLL_S)
            if not batches and self._source.fetch_age_s() < _POLL_S:
                empty += 1
            for batch in batches:
                events = matching.add(batch, begin, end, events)
                begin_ms = int(batch.timestamps_ms[0]) if begin_ms is None else begin_ms
                reached = int(batch.offsets[-1]) + 1
        self._begin_ms = begin_ms if begin_ms is not None else self._begin_ms
        return events
