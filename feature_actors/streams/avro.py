"""Records in Avro's binary encoding, decoded by fastavro."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec

from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.fields import Fields, Kind
from freshrank.feature_actors.streams.formats import BoundFormat
from freshrank.feature_actors.streams.times.avro_time import AvroTime, without_logical_types
from freshrank.feature_actors.streams.times.time_field import TimeField

AvroSchema: TypeAlias = Mapping[str, Any] | Path | str
"""A record schema as a dict, or the path of an ``.avsc`` file."""

# The header of records of a schema registry: a zero byte, and the schema's id.
_HEADER = struct.Struct(">bI")
# The errors of fastavro for bytes that are not of the schema; besides ValueError.
_DAMAGED = (EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error)


@dataclass(frozen=True, eq=False)
class Avro:
    r"""A record's value is the event in Avro's binary encoding.

    Fields are found by their names, and have the rules that they have in JSON. Logical types are
    read as the type beneath: a ``timestamp-millis`` is an integer of milliseconds. But an event
    time that the stream's schema declares as a `datetime` may be a ``timestamp-millis`` or a
    ``timestamp-micros``. Events that are posted by REST are JSON, and are written to the topic in
    this format.

    Without `schema_id` all records are of `schema`, and have no header. With it each begins with
    the header of Confluent's serializers, a zero byte and four bytes of schema id (big-endian): a
    record of an id that is given nowhere here is rejected. No registry is asked.

    A relative path is sought from the working folder of each process of a run, and the file has to
    be on each machine.

    >>> from freshrank import Avro, Entity, Stream
    >>> from freshrank.feature_actors.streams.codec import Codec
    >>> class Play(msgspec.Struct):
    ...     play_id: str
    ...     listener: str
    ...     at: int
    >>> text, long = "string", {"type": "long", "logicalType": "timestamp-millis"}
    >>> types = {"play_id": text, "listener": text, "at": long}
    >>> fields = [{"name": name, "type": kind} for name, kind in types.items()]
    >>> plays = Stream(
    ...     "plays",
    ...     id="play_id",
    ...     time="at",
    ...     key=Entity("listener", key="listener"),
    ...     schema=Play,
    ...     format=Avro({"type": "record", "name": "Play", "fields": fields}, schema_id=7),
    ... )
    >>> Codec(plays).record(b'{"play_id": "p1", "listener": "ann", "at": 5}', now_ms=5)
    (b'ann', b'\x00\x00\x00\x00\x07\x04p1\x06ann\n')
    >>> Codec(plays).decode_one(b"\x00\x00\x00\x00\x07\x04p1\x06ann\n")
    Play(play_id='p1', listener='ann', at=5)
    """

    schema: AvroSchema
    """The writer's schema, a record. Posted events are written with it."""
    _: KW_ONLY
    schema_id: int | None = None
    """The id of `schema` in the registry of the producers; None where records have no header."""
    other_schemas: Mapping[int, AvroSchema] = field(default_factory=dict)
    """By their ids, schemas of which records are read too: those of other producers."""

    def bind_events(
        self, event_type: type[msgspec.Struct], time: TimeField | None, place: str
    ) -> BoundFormat:
        """Compile the schemas. Raises ConfigError for those that cannot hold the events."""
        if self.other_schemas and self.schema_id is None:
            raise ConfigError(
                place, "records without a header have one schema", "Give the schema_id too."
            )
        written = _parsed(self.schema, event_type, time, place)
        if self.schema_id is None:
            return _BoundAvro(event_type, time, written, None, {})
        others = {
            schema_id: _parsed(schema, event_type, time, f"{place}.other_schemas[{schema_id}]")
            for schema_id, schema in self.other_schemas.items()
        }
        by_id = {**others, self.schema_id: written}
        return _BoundAvro(event_type, time, written, self.schema_id, by_id)


class _BoundAvro:
    def __init__(
        self,
        event_type: type[msgspec.Struct],
        time: TimeField | None,
        written: dict[str, Any],
        schema_id: int | None,
        by_id: Mapping[int, dict[str, Any]],
    ) -> None:
        from fastavro import schemaless_reader, schemaless_writer  # noqa: PLC0415
        from fastavro.validation import ValidationError, validate  # noqa: PLC0415

        self._read = schemaless_reader
        self._write = schemaless_writer
        self._validate = validate
        self._invalid = ValidationError
        self._event_type = event_type
        self._time = AvroTime(event_type, time)
        self._written = written
        self._by_id = by_id
        self._header = b"" if schema_id is None else _HEADER.pack(0, schema_id)
        usable = Fields(event_type, event_type.__name__).with_elements
        self._numbers = [
            usable.json_path(name) for name in usable if usable[name].kind is Kind.NUMBER
        ]

    def decode(self, value: bytes) -> msgspec.Struct:
        content = self._content(value)
        for path in self._numbers:
            if not _finite(content, path):
                raise ValueError(f"{'.'.join(path)}: NaN and Infinity are not numbers")
        return msgspec.convert(content, self._event_type)

    def reason(self, value: bytes, error: Exception) -> str:
        return str(error)

    def encode(self, event: msgspec.Struct, document: bytes) -> bytes:
        # Fields that only the Avro schema has are taken from the document.
        content = msgspec.json.decode(document)
        content |= msgspec.to_builtins(event, builtin_types=(bytes,))
        content |= self._time.written(event, self._written)
        out = BytesIO(self._header)
        out.seek(len(self._header))
        try:
            self._validate(content, self._written)
            self._write(out, self._written, content)
        except self._invalid as error:
            raise ValueError(f"does not fit the Avro schema: {error.errors[0]}") from error
        except _DAMAGED as error:
            raise ValueError(f"does not fit the Avro schema: {error}") from error
        self.decode(out.getvalue())  # as a shard will, which would reject it
        return out.getvalue()

    def to_json(self, value: bytes) -> bytes:
        return msgspec.json.encode(self._content(value))

    def _content(self, value: bytes) -> dict[str, Any]:
        """The fields of the event, unchecked."""
        schema, source = self._written, BytesIO(value)
        if self._header:
            schema = self._schema_of(value)
            source.seek(_HEADER.size)
        try:
            content = self._read(source, schema, None)
        except _DAMAGED as error:
            raise ValueError(f"not of the Avro schema: {error or 'it ends too early'}") from error
        rest = len(value) - source.tell()
        if rest:
            raise ValueError(f"not of the Avro schema: {rest} bytes follow the event")
        return cast(dict[str, Any], content)

    def _schema_of(self, value: bytes) -> dict[str, Any]:
        if len(value) < _HEADER.size:
            raise ValueError("it ends before the id of its Avro schema")
        magic, schema_id = _HEADER.unpack_from(value)
        if magic != 0:
            raise ValueError(f"no header of an Avro schema: it begins with byte {value[0]}, not 0")
        if schema_id not in self._by_id:
            known = ", ".join(map(str, sorted(self._by_id)))
            raise ValueError(f"the Avro schema {schema_id} is not known, only {known}")
        return self._by_id[schema_id]


def _finite(content: object, path: Sequence[str]) -> bool:
    """Whether all numbers at a path are, those in lists too."""
    for place, name in enumerate(path):
        if isinstance(content, list):
            return all(_finite(one, path[place:]) for one in content)
        if not isinstance(content, dict):
            return True
        content = content.get(name)
    if isinstance(content, list):
        return all(_finite(one, ()) for one in content)
    return not isinstance(content, float) or math.isfinite(content)


def _parsed(
    given: AvroSchema, event_type: type[msgspec.Struct], time: TimeField | None, place: str
) -> dict[str, Any]:
    """The schema in fastavro's form, without logical types, checked. Raises ConfigError."""
    try:
        from fastavro import parse_schema  # noqa: PLC0415
        from fastavro.schema import SchemaParseException  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            place, "fastavro is not installed", "Install freshrank[avro], on each machine."
        ) from error
    raw = _loaded(given, place)
    try:
        parsed = parse_schema(without_logical_types(raw, AvroTime(event_type, time).kept))
    except (SchemaParseException, ValueError, TypeError, KeyError) as error:
        raise ConfigError(place, f"no Avro schema: {error}", "Give a valid schema.") from error
    if not isinstance(parsed, dict) or parsed.get("type") != "record":
        raise ConfigError(place, "the Avro schema is not a record", "Give the schema of an event.")
    _check_fields(raw, event_type, time, place)
    problem = next(_dangers(parsed, parsed["__named_schemas"], ()), None)
    if problem is not None:
        raise ConfigError(place, f"the Avro schema has {problem}", "Give a schema without it.")
    return parsed


def _loaded(given: AvroSchema, place: str) -> Any:
    if isinstance(given, Mapping):
        return given
    try:
        return json.loads(Path(given).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            place, f"the Avro schema cannot be read: {error}", "Give a dict, or an .avsc file."
        ) from error


def _check_fields(
    schema: Mapping[str, Any], event_type: type[msgspec.Struct], time: TimeField | None, place: str
) -> None:
    """Each mandatory field is in the record, and the event time is of a type that can be read."""
    types = {one["name"]: one["type"] for one in schema["fields"]}
    for one in msgspec.structs.fields(event_type):
        if one.required and one.encode_name not in types:
            raise ConfigError(
                place,
                f"the Avro schema has no field {one.encode_name!r}",
                "Give the field of the stream's schema a default, or add it here.",
            )
    AvroTime(event_type, time).check(types, place)


def _dangers(schema: Any, named: Mapping[str, Any], within: tuple[str, ...]) -> Iterator[str]:
    """Types by which a small record can take a process down: recursion, and arrays of nothing."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _dangers(branch, named, within)
    elif isinstance(schema, str) and schema in named:
        yield from _dangers(named[schema], named, within)
    elif isinstance(schema, Mapping):
        name = schema.get("name", "")
        if name in within:
            yield f"a type within itself ({name}), which fastavro follows until the stack ends"
            return
        parts = [part["type"] for part in schema.get("fields", ())]
        for part in (*parts, schema.get("items"), schema.get("values")):
            yield from _dangers(part, named, (*within, name) if name else within)
        if schema["type"] == "array" and not _takes_bytes(schema["items"], named):
            yield "an array whose items take no byte, of which a record can claim any number"


def _takes_bytes(schema: Any, named: Mapping[str, Any]) -> bool:
    """Whether each value of the type takes a byte at least."""
    if isinstance(schema, str):
        return schema != "null" and (schema not in named or _takes_bytes(named[schema], named))
    if isinstance(schema, Mapping) and schema["type"] == "record":
        return any(_takes_bytes(part["type"], named) for part in schema["fields"])
    if isinstance(schema, Mapping) and schema["type"] == "fixed":
        return bool(schema["size"])
    return not isinstance(schema, Mapping) or schema["type"] != "null"
