"""Avro's schemas and headers. What holds for every format is in tests/contracts."""

from __future__ import annotations

import json
import struct
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest

from freshrank import Avro, Entity, Stream
from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.feature_actors.streams.codec import Codec


class Play(msgspec.Struct):
    play_id: str
    listener: str
    at: int
    seconds: float = 2.5


TYPES: dict[str, Any] = {"play_id": "string", "listener": "string", "at": "long"}


def schema(**changes: Any) -> dict[str, Any]:
    """The record of a play; a field whose type is None is left out."""
    types = {name: kind for name, kind in (TYPES | changes).items() if kind is not None}
    fields = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "Play", "namespace": "music", "fields": fields}


def codec(given: Avro) -> Codec:
    listener = Entity("listener", key="listener")
    stream = Stream("plays", id="play_id", time="at", key=listener, schema=Play, format=given)
    return Codec(stream)


def decoded(given: Codec, value: bytes) -> dict[str, Any]:
    """The fields of the event in `value`."""
    return msgspec.structs.asdict(given.decode_one(value))


NOW_MS = 2**40
EVENT = b'{"play_id": "p1", "listener": "ann", "at": 5}'
FIELDS = {"play_id": "p1", "listener": "ann", "at": 5, "seconds": 2.5}
PLAIN = b"\x04p1\x06ann\n"


def test_a_field_that_the_avro_schema_lacks_has_its_default() -> None:
    assert decoded(codec(Avro(schema())), PLAIN) == FIELDS


def test_a_schema_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "play.avsc"
    path.write_text(json.dumps(schema()), encoding="utf-8")
    for given in (path, str(path)):
        assert codec(Avro(given)).record(EVENT, NOW_MS) == (b"ann", PLAIN)


@pytest.mark.parametrize("logical", ["timestamp-millis", "local-timestamp-millis", "unknown"])
def test_logical_types_are_read_as_the_type_beneath(logical: str) -> None:
    at = {"type": "long", "logicalType": "timestamp-millis"}
    seconds = ["null", {"type": "double", "logicalType": logical}]
    given = codec(Avro(schema(at=at, seconds=seconds)))
    assert decoded(given, PLAIN + b"\x02" + struct.pack("<d", 1.0)) == FIELDS | {"seconds": 1.0}


def test_each_record_is_decoded_by_the_schema_of_its_header() -> None:
    # The older schema has another order of fields.
    other = {**schema(), "fields": schema()["fields"][::-1]}
    given = codec(Avro(schema(), schema_id=258, other_schemas={3: other}))
    assert decoded(given, b"\0\0\0\x01\x02" + PLAIN) == FIELDS
    assert decoded(given, b"\0\0\0\0\x03\n\x06ann\x04p1") == FIELDS
    assert given.record(EVENT, NOW_MS) == (b"ann", b"\0\0\0\x01\x02" + PLAIN)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"\0\0\0\0\x04" + PLAIN, "the Avro schema 4 is not known, only 3, 258"),
        (b"\x01\0\0\0\x03" + PLAIN, "it begins with byte 1, not 0"),
        (EVENT, "it begins with byte 123, not 0"),
        (b"\0\0\0", "it ends before the id of its Avro schema"),
        (b"\0\0\0\0\x03" + PLAIN[:-1], "not of the Avro schema"),
        (b"\0\0\0\0\x03" + PLAIN + b"..", "2 bytes follow the event"),
    ],
)
def test_a_record_without_a_known_header_is_rejected(value: bytes, reason: str) -> None:
    given = codec(Avro(schema(), schema_id=258, other_schemas={3: schema()}))
    with pytest.raises(BadRecord, match=reason):
        given.decode_one(value)


def test_a_posted_event_that_the_avro_schema_cannot_hold_is_refused() -> None:
    given = codec(Avro(schema(at="int", seconds="float", device="string")))
    event = {"play_id": "p1", "listener": "ann", "at": 5, "seconds": 1.0, "device": "phone"}
    assert given.record(msgspec.json.encode(event), NOW_MS)[0] == b"ann"
    for changes, reason in (
        ({"at": 2**40}, "does not fit the Avro schema: music.Play.at is <1099511627776>"),
        ({"seconds": 1e300}, "seconds: NaN and Infinity"),
        ({"device": 7}, "does not fit the Avro schema: music.Play.device is <7>"),
    ):
        with pytest.raises(BadRecord, match=reason):
            given.record(msgspec.json.encode(event | changes), NOW_MS)
    del event["device"]
    with pytest.raises(BadRecord, match=r"does not fit the Avro schema: Field.music.Play.device"):
        given.record(msgspec.json.encode(event), NOW_MS)


NOTHING = {"type": "record", "name": "Nothing", "fields": [{"name": "n", "type": "null"}]}
ITSELF = {"type": "record", "name": "Node", "fields": [{"name": "next", "type": ["null", "Node"]}]}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Avro({"type": "record"}), "no Avro schema"),
        (Avro(schema(at="longer")), "no Avro schema: music.longer"),
        (Avro({"type": "enum", "name": "e", "symbols": ["a"]}), "is not a record"),
        (Avro("there/is/none.avsc"), "cannot be read: .*there/is/none.avsc"),
        (Avro(schema(at=None)), "the Avro schema has no field 'at'"),
        (Avro(schema(at={"type": "long", "logicalType": "timestamp-micros"})), "timestamp-micros"),
        (Avro(schema(), other_schemas={3: schema()}), "without a header have one schema"),
        (
            Avro(schema(), schema_id=1, other_schemas={3: schema(listener=None)}),
            r"format.other_schemas\[3\].* has no field 'listener'",
        ),
        (Avro(schema(more=ITSELF)), r"a type within itself \(music.Node\)"),
        (Avro(schema(more={"type": "array", "items": "null"})), "items take no byte"),
        (Avro(schema(more={"type": "array", "items": NOTHING})), "items take no byte"),
        (
            Avro(
                schema(
                    one=NOTHING,
                    more={"type": "map", "values": {"type": "array", "items": "Nothing"}},
                )
            ),
            "items take no byte",
        ),
        (
            Avro(
                schema(more={"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}})
            ),
            "items take no byte",
        ),
    ],
)
def test_a_schema_that_cannot_hold_the_events_is_a_mistake_of_the_pipeline(
    given: Avro, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        codec(given)


def test_arrays_of_something_are_fine() -> None:
    items = {"type": "array", "items": ["null", "long"]}
    given = codec(Avro(schema(more=items, rows=items)))
    assert decoded(given, PLAIN + b"\x02\x00\x00" + b"\x00") == FIELDS


class Mark(msgspec.Struct):
    second: float


class Marked(Play):
    marks: list[Mark] = []
    levels: list[float] | None = None


MARK = {"type": "record", "name": "Mark", "fields": [{"name": "second", "type": "double"}]}


@pytest.mark.parametrize(
    ("marks", "levels", "problem"),
    [
        ([1.0, 2.5], [0.5], None),
        ([], None, None),
        ([1.0, float("nan")], [], r"marks\.second: NaN and Infinity are not numbers"),
        ([1.0], [0.5, float("inf")], "levels: NaN and Infinity are not numbers"),
    ],
)
def test_lists_of_records_and_numbers_are_read_and_their_numbers_checked(
    marks: list[float], levels: list[float] | None, problem: str | None
) -> None:
    of_marks = {"type": "array", "items": MARK}
    of_levels = ["null", {"type": "array", "items": "double"}]
    given = schema(marks=of_marks, levels=of_levels)
    listener = Entity("listener", key="listener")
    plays = Stream(
        "plays", id="play_id", time="at", key=listener, schema=Marked, format=Avro(given)
    )
    play = {"play_id": "p1", "listener": "ann", "at": 5, "levels": levels}
    play["marks"] = [{"second": second} for second in marks]
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(given), play)
    if problem is None:
        read = Codec(plays).decode_one(out.getvalue())
        assert msgspec.to_builtins(read) == play | {"seconds": 2.5}
        return
    with pytest.raises(BadRecord, match=problem):
        Codec(plays).decode_one(out.getvalue())


def test_without_fastavro_the_pipeline_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(ConfigError, match=r"fastavro is not installed.*freshrank\[avro\]"):
        codec(Avro(schema()))
