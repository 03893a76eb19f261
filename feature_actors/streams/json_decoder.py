"""Bytes of a topic to columns: everything is checked here, and never again."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import reduce
from operator import attrgetter, or_
from types import NoneType, UnionType
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec
import numpy as np
from msgspec import inspect

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import LONGEST_KEY, Ints, RecordBatch, RejectedRecord
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.stream import Stream

_UNREADABLE = (ValueError, TypeError, RecursionError)
"""What msgspec raises for records: its own errors and bad UTF-8 are ValueErrors, None is a
TypeError, and JSON nested too deeply a RecursionError."""


class Codec:
    """Decodes the records of a stream.

    A record is rejected, with a reason that names the field, when it is a tombstone, larger than
    `Stream.max_bytes`, not JSON, not of the schema (NaN and Infinity are no JSON numbers), when an
    integer needs more than 64 bits, the key or the id is empty or longer than `LONGEST_KEY`
    characters, or the event time is before 1970 or more than `Stream.max_ahead` after the broker's
    time of the record. Fields that the schema does not name are passed over; of a field that is
    named twice the last counts.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._time: Callable[[msgspec.Struct], int] = attrgetter(stream.time)
        self._decoder = msgspec.json.Decoder(record_type(stream))

    def decode(self, batch: RecordBatch) -> tuple[Columns, list[RejectedRecord]]:
        """The good records as columns, in log order, and the others with their reasons."""
        rejected: list[RejectedRecord] = []
        # A None among the values makes `_all` fail like any other bad record.
        events, good = self._all(cast(list[bytes], batch.values)), None
        if events is None:
            events, good = self._each(batch, rejected)
        offsets, stamps = batch.offsets, batch.timestamps_ms
        if good is not None:
            offsets, stamps = offsets[good], stamps[good]
        times = np.fromiter(map(self._time, events), np.int64, len(events))
        columns = Columns(self.stream.fields, events, offsets, times)
        ahead = times > stamps + self.stream.max_ahead_ms
        if ahead.any():
            places = np.arange(len(batch.values)) if good is None else good
            for place in places[ahead].tolist():
                rejected.append(batch.rejected(place, self._ahead_reason()))
            rejected.sort(key=lambda one: one.offset)
            columns = columns.take(np.flatnonzero(~ahead))
        return columns, rejected

    def decode_one(self, value: bytes | None) -> msgspec.Struct:
        """One record; raises BadRecord with the reason."""
        if value is None:
            raise BadRecord("a tombstone (no value): events are never deleted")
        if len(value) > self.stream.max_bytes:
            raise BadRecord(f"{len(value)} bytes are more than the {self.stream.max_bytes} allowed")
        try:
            return self._decoder.decode(value)
        except _UNREADABLE as error:
            raise BadRecord(_reason(value, error)) from error

    def _all(self, values: list[bytes]) -> list[msgspec.Struct] | None:
        """Every record decoded, or None when at least one is bad."""
        decode = self._decoder.decode
        try:
            if max(map(len, values), default=0) > self.stream.max_bytes:
                return None
            return [decode(value) for value in values]
        except _UNREADABLE:
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

    def _ahead_reason(self) -> str:
        stream = self.stream
        return f"{stream.time}: more than {stream.max_ahead} ahead of the record's timestamp"


def record_type(stream: Stream) -> type[msgspec.Struct]:
    """The schema with the rules that every stream has, and without garbage collection.

    Decoded JSON has no cycles, and ten thousand events a batch would else be walked by the
    collector again and again.
    """
    described = inspect.type_info(stream.schema)
    assert isinstance(described, inspect.StructType)
    bounds = {field.name: field.type for field in described.fields}
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(stream.schema):
        rules = _rules(stream, field.name, bounds[field.name])
        if rules is not None:
            fields.append((field.name, _ruled(field.type, rules), _default(field)))
    return msgspec.defstruct(
        stream.schema.__name__, fields, bases=(stream.schema,), gc=False, kw_only=True
    )


def _rules(stream: Stream, name: str, described: inspect.Type) -> msgspec.Meta | None:
    """What holds for a field beside its own type, where that says nothing stricter."""
    if isinstance(described, inspect.UnionType):
        rest = [one for one in described.types if not isinstance(one, inspect.NoneType)]
        described = rest[0] if len(rest) == 1 else described
    if isinstance(described, inspect.IntType):
        least = 0 if name == stream.time else -(2**63)
        unbounded_below = described.ge is None and described.gt is None
        unbounded_above = described.le is None and described.lt is None
        return msgspec.Meta(
            ge=least if unbounded_below else None, le=2**63 - 1 if unbounded_above else None
        )
    if isinstance(described, inspect.StrType) and name in (stream.id, stream.key.key):
        return msgspec.Meta(
            min_length=described.min_length or 1, max_length=described.max_length or LONGEST_KEY
        )
    return None


def _ruled(annotation: Any, rules: msgspec.Meta) -> Any:
    """The type with the rules on it, or on the integer of an optional one."""
    if get_origin(annotation) not in (Union, UnionType):
        return Annotated[annotation, rules]
    members = [one if one is NoneType else Annotated[one, rules] for one in get_args(annotation)]
    return reduce(or_, members)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    name = field.encode_name
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default=field.default, name=name)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=field.default_factory, name=name)
    return msgspec.field(name=name)


def _reason(value: bytes, error: Exception) -> str:
    """What is wrong with a record, naming the field where it can be told."""
    if isinstance(error, RecursionError):
        return "JSON is nested too deeply"
    if isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError):
        odd = _not_finite(value)
        if odd is not None:
            return f"{odd}: NaN and Infinity are not numbers"
    return str(error)


def _not_finite(value: bytes) -> str | None:
    """The field that holds a NaN or Infinity, where that is all that keeps it from being JSON."""
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    for name, one in document.items():
        if isinstance(one, float) and not math.isfinite(one):
            return str(name)
    return None
