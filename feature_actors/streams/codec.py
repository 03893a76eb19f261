"""The records of a stream to events, and back. Everything is checked here, and never again."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import cast

import msgspec
import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.entity_key import EntityKey
from freshrank.feature_actors.streams.formats import UNREADABLE, BoundFormat, Json
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.streams.times.faults import TimeFault
from freshrank.feature_actors.streams.times.reader import TimeReader


class Codec:
    """Decodes the records of a stream, and makes records of posted events.

    A record is rejected, with a reason that names the field, when it has no value, is larger than
    `Stream.max_bytes`, not of the stream's format, not of the schema, when an integer needs more
    than 64 bits, a number is NaN or infinite, the key or the id is empty or longer than
    `LONGEST_KEY` characters, or the event time is before 1970, in another unit than the stream's,
    without a zone, or more than `Stream.max_ahead` after the time of the record. Fields that the
    schema does not name are ignored; of events that are posted they are refused where the codec is
    `closed`.
    """

    def __init__(self, stream: Stream, *, closed: bool = False) -> None:
        self.stream = stream
        self._times = TimeReader(stream.time_field)
        self._max_ahead_ms = stream.max_ahead_ms
        key = (stream.record_key or stream.key).key
        self._key: Callable[[msgspec.Struct], str | int] = attrgetter(key)
        self._entity_key = EntityKey(stream.event_type, stream.fields, key)
        fields = msgspec.structs.fields(stream.event_type)
        self._time_in_json = next(at.encode_name for at in fields if at.name == stream.time)
        self._format = stream.bound_format
        posted = stream.posted_type if closed else stream.event_type
        self._json = Json().bind_events(posted, stream.time_field, stream.topic)

    def decode(self, batch: RecordBatch) -> tuple[Columns, list[RejectedRecord]]:
        """The good records as columns, in log order, and the others with their reasons."""
        rejected: list[RejectedRecord] = []
        if isinstance(batch.decoded, Columns):
            columns, good = batch.decoded.at(batch.offsets), None
            times = self._times.again(columns.event_times_ms, columns.integers)
        else:
            events, good = self._events(batch, rejected)
            times = self._times.read(events)
            offsets = batch.offsets if good is None else batch.offsets[good]
            columns = Columns.of_events(self.stream.fields, events, offsets, times.ms)
        stamps = batch.timestamps_ms if good is None else batch.timestamps_ms[good]
        faults = {at.place: at for at in times.faults(stamps, self._max_ahead_ms)}
        if faults:
            places = np.arange(len(batch.values)) if good is None else good
            for at, fault in faults.items():
                reason = f"{self.stream.time}: {self._reason(fault)}"
                rejected.append(batch.rejected(int(places[at]), reason, fault.kind))
            rejected.sort(key=lambda record: record.offset)
            columns = columns.take(np.delete(np.arange(len(columns)), list(faults)))
        return columns, rejected

    def decode_one(self, value: bytes | None) -> msgspec.Struct:
        """One record; raises BadRecord with the reason."""
        if value is None:
            raise BadRecord("a tombstone (no value)")
        return self._decode(self._format, value)

    def entity(self, key: bytes | None) -> str:
        """The entity that the key of a tombstone names; raises BadRecord."""
        return self._entity_key.of_record(key)

    def record(self, document: bytes, now_ms: int) -> tuple[bytes, bytes]:
        """Key and value of the record of an event that was posted as JSON at `now_ms`.

        An integer key may be given as text; the record has the integer. Raises BadRecord.
        """
        event, document = self._posted(document)
        times = self._times.read([event])
        for fault in times.faults(np.array([now_ms]), self._max_ahead_ms):
            raise BadRecord(f"{self._reason(fault)} - at `$.{self._time_in_json}`")
        try:
            value = self._format.encode(event, document)
        except UNREADABLE as error:
            raise BadRecord(str(error)) from error
        self._check_size(value)
        return self._key_bytes(event), value

    def key(self, value: bytes) -> bytes:
        """The key of the event in a record's value; raises BadRecord."""
        event = self.decode_one(value)
        for fault in self._times.read([event]).unreadable.values():
            raise BadRecord(fault.reason)
        return self._key_bytes(event)

    def json(self, value: bytes) -> bytes:
        """The JSON of the event in a record's value of which `key` gave the key."""
        return self._format.to_json(value)

    def _posted(self, document: bytes) -> tuple[msgspec.Struct, bytes]:
        """The event in posted JSON, and the JSON as records have it."""
        try:
            return self._decode(self._json, document), document
        except BadRecord:
            if not self._entity_key.integer:
                raise
            document = self._entity_key.as_in_records(document)
            return self._decode(self._json, document), document

    def _decode(self, form: BoundFormat, value: bytes) -> msgspec.Struct:
        self._check_size(value)
        try:
            return form.decode(value)
        except UNREADABLE as error:
            raise BadRecord(form.reason(value, error)) from error

    def _check_size(self, value: bytes) -> None:
        if len(value) > self.stream.max_bytes:
            raise BadRecord(f"{len(value)} bytes are more than the {self.stream.max_bytes} allowed")

    def _key_bytes(self, event: msgspec.Struct) -> bytes:
        return str(self._key(event)).encode()

    def _events(
        self, batch: RecordBatch, rejected: list[RejectedRecord]
    ) -> tuple[list[msgspec.Struct], Ints | None]:
        """The records that can be decoded, with their places in the batch; None: all."""
        # A None among the values makes `_all` fail like any other bad record.
        events = self._all(cast(list[bytes], batch.values))
        return self._each(batch, rejected) if events is None else (events, None)

    def _all(self, values: list[bytes]) -> list[msgspec.Struct] | None:
        """Every record decoded, or None when at least one is bad."""
        decode = self._format.decode
        try:
            if max(map(len, values), default=0) > self.stream.max_bytes:
                return None
            return [decode(value) for value in values]
        except UNREADABLE:
            return None

    def _each(
        self, batch: RecordBatch, rejected: list[RejectedRecord]
    ) -> tuple[list[msgspec.Struct], Ints]:
        """The records that can be decoded, with their places in the batch."""
        events: list[msgspec.Struct] = []
        good: list[int] = []
        for place, value in enumerate(batch.values):
            try:
                events.append(self.decode_one(value))
            except BadRecord as error:
                rejected.append(batch.rejected(place, error.reason))
            else:
                good.append(place)
        return events, np.array(good, dtype=np.int64)

    def _reason(self, fault: TimeFault) -> str:
        if fault.kind is not RejectKind.TIME_AHEAD:
            return fault.reason
        return f"more than {self.stream.max_ahead} ahead of the log: {fault.reason}"
