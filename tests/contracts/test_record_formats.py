"""What holds for records in every format: the same events, and the same rows, are good in each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank import Avro, Table, col
from freshrank.actors.errors import BadRecord
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.formats import Json, RecordFormat
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords

STAMP_MS = 1_700_000_000_000
AHEAD_MS = 3_600_000


class Order(msgspec.Struct, rename="camel"):
    event_id: str
    user_id: str
    ts: int
    item_count: int
    price: float
    note: str | None = None
    tags: list[str] = []
    rank: int | None = 7


GOOD: dict[str, Any] = {
    "eventId": "e",
    "userId": "u",
    "ts": STAMP_MS,
    "itemCount": 3,
    "price": 1.5,
    "note": None,
    "tags": ["a"],
    "rank": 7,
}
# Each field may be of any type, so that wrong ones can be written.
ANY = ["null", "boolean", "long", "double", "string", {"type": "array", "items": "string"}]
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "fields": [{"name": name, "type": ANY} for name in (*GOOD, "extra")],
}
PARSED = fastavro.parse_schema(SCHEMA)


def avro(event: dict[str, Any], header: bytes = b"") -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED, event)
    return header + out.getvalue()


@dataclass(frozen=True)
class Case:
    name: str
    format: RecordFormat
    write: Callable[[dict[str, Any]], bytes]

    def codec(self, **changes: Any) -> Codec:
        arguments: dict[str, Any] = {
            "id": "event_id",
            "time": "ts",
            "key": Entity("user", key="user_id"),
            "schema": Order,
            "max_bytes": 400,
            "format": self.format,
        }
        return Codec(Stream("orders", **(arguments | changes)))


CASES = [
    Case("json", Json(), lambda event: json.dumps(event).encode()),
    Case("avro", Avro(SCHEMA), avro),
    Case(
        "avro with schema ids",
        Avro({**SCHEMA, "name": "New"}, schema_id=258, other_schemas={3: SCHEMA}),
        lambda event: avro(event, b"\0\0\0\0\x03"),
    ),
]
each_format = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def batch(values: Sequence[bytes | None]) -> RecordBatch:
    count = len(values)
    offsets, stamps_ms = np.arange(100, 100 + count), np.full(count, STAMP_MS)
    return RecordBatch("orders", 4, list(values), offsets, stamps_ms, np.ones(count, np.bool_))


@each_format
def test_good_records_become_columns_in_log_order(case: Case) -> None:
    values = [GOOD, GOOD | {"userId": "v", "ts": 5, "rank": None, "extra": "more"}]
    columns, rejected = case.codec().decode(batch([case.write(value) for value in values]))
    assert rejected == []
    assert columns.offsets.tolist() == [100, 101]
    assert columns.event_times_ms.tolist() == [STAMP_MS, 5]
    assert columns.text("user_id") == ["u", "v"]
    assert columns.hashed("rank").tolist() == [7, 0]
    assert columns.number("price").tolist() == [1.5, 1.5]


@each_format
def test_null_is_what_is_null_in_the_record_or_by_default(case: Case) -> None:
    values = [GOOD, GOOD | {"note": "", "rank": None}, GOOD | {"note": "n", "rank": 0}]
    columns, _ = case.codec().decode(batch([case.write(value) for value in values]))
    assert col.note.is_null().evaluate(columns).tolist() == [True, False, False]
    assert (~col.rank.is_null()).evaluate(columns).tolist() == [True, False, True]


def test_a_field_that_the_json_lacks_is_null_where_that_is_its_default() -> None:
    case = CASES[0]
    without = [{name: GOOD[name] for name in GOOD if name not in ("note", "rank")}]
    columns, _ = case.codec().decode(batch([case.write(value) for value in without]))
    assert col.note.is_null().evaluate(columns).tolist() == [True]
    assert col.rank.is_null().evaluate(columns).tolist() == [False], "its default is 7"


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a text time": ({"ts": "now"}, r"\$\.ts"),
    "a fractional time": ({"ts": 1.5}, r"\$\.ts"),
    "a negative time": ({"ts": -1}, r"\$\.ts"),
    "the last time of 64 bits": ({"ts": 2**63 - 1}, "^ts: more than 1h ahead"),
    "a time too far ahead": ({"ts": STAMP_MS + AHEAD_MS + 1}, "^ts: more than 1h ahead"),
    "no time": ({"ts": None}, r"\$\.ts"),
    "an empty key": ({"userId": ""}, r"\$\.userId"),
    "a null key": ({"userId": None}, r"\$\.userId"),
    "an empty id": ({"eventId": ""}, r"\$\.eventId"),
    "an id that is too long": ({"eventId": "e" * 257}, r"\$\.eventId"),
    "a key that is too long": ({"userId": "u" * 257}, r"\$\.userId"),
    "a text number": ({"price": "12"}, r"\$\.price"),
    "NaN": ({"price": float("nan")}, "^price: NaN and Infinity are not numbers"),
    "Infinity": ({"price": float("-inf")}, "^price: NaN and Infinity are not numbers"),
    "a truth value for an integer": ({"itemCount": True}, r"\$\.itemCount"),
    "a wrong type that no feature uses": ({"tags": "a"}, r"\$\.tags"),
    "too large": ({"note": "x" * 400}, "more than the 400 allowed"),
}


@each_format
@pytest.mark.parametrize(("changes", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_event_is_rejected_with_its_reason_and_the_others_go_on(
    case: Case, changes: dict[str, Any], reason: str
) -> None:
    good, bad = case.write(GOOD), case.write(GOOD | changes)
    columns, rejected = case.codec().decode(batch([good, bad, good]))
    assert columns.offsets.tolist() == [100, 102]
    assert [(record.offset, record.value) for record in rejected] == [(101, bad)]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(rejected[0].reason)


@each_format
def test_damaged_records_are_rejected_with_a_reason(case: Case) -> None:
    good = case.write(GOOD)
    damaged = [None, b"", good[:-1], good + b"\x00", b"\xff" + good]
    columns, rejected = case.codec().decode(batch([*damaged, good]))
    assert columns.offsets.tolist() == [105]
    assert len(rejected) == 5
    assert all(record.reason for record in rejected)
    assert "tombstone" in rejected[0].reason


def rows_of(case: Case, values: Sequence[bytes | None], key: bytes = b"u") -> TableRecords:
    table = Table(
        "orders",
        key=Entity("user", key="user_id"),
        schema=Order,
        max_bytes=400,
        format=case.format,
    )
    return TableCodec(table).decode(replace(batch(values), keys=[key] * len(values)))


@each_format
def test_the_rows_of_a_table_are_read_in_each_format(case: Case) -> None:
    found = rows_of(case, [case.write(GOOD | {"ts": -1}), None, case.write(GOOD | {"rank": None})])
    assert found.rejected == []
    assert [row is None for row in found.rows] == [False, True, False]
    assert found.take(np.array([0, 2])).columns().number("rank").tolist()[0] == 7.0
    assert found.rows[0] == msgspec.convert(GOOD | {"ts": -1}, found.table.row_type)


BAD_ROWS = {name: BAD[name] for name in ("a text number", "NaN", "an empty key", "too large")} | {
    "another key": ({"userId": "v"}, "its key is 'u', and its user_id is 'v'"),
}


@each_format
@pytest.mark.parametrize(("changes", "reason"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_rejected_in_each_format(
    case: Case, changes: dict[str, Any], reason: str
) -> None:
    found = rows_of(case, [case.write(GOOD | changes), case.write(GOOD)])
    assert found.places.tolist() == [1]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.rejected[0].reason)


@each_format
def test_a_row_that_is_given_as_json_becomes_the_value_of_a_record(case: Case) -> None:
    codec = TableCodec(rows_of(case, []).table)
    value = codec.value(msgspec.json.encode(GOOD))
    assert codec.key(value) == b"u"
    (row,) = rows_of(case, [value]).rows
    assert msgspec.to_builtins(row) == GOOD
    for wrong in (b"{", msgspec.json.encode(GOOD | {"price": "1"})):
        with pytest.raises(BadRecord):
            codec.value(wrong)


@each_format
@given(value=st.binary(max_size=60))
def test_whatever_bytes_come_are_taken_or_rejected(case: Case, value: bytes) -> None:
    columns, rejected = case.codec().decode(batch([value]))
    assert len(columns) + len(rejected) == 1


names = st.text(min_size=1, max_size=20)
whole = st.integers(-(2**63), 2**63 - 1)
finite = st.floats(allow_nan=False, allow_infinity=False)
posted = st.fixed_dictionaries(
    {
        "eventId": names,
        "userId": names,
        "ts": st.integers(0, 2**63 - 1),
        "itemCount": whole,
        "price": finite,
    },
    optional={
        "note": st.none() | st.text(max_size=20),
        "tags": st.lists(st.text(max_size=5), max_size=3),
        "rank": st.none() | whole,
        "extra": st.booleans() | st.text(max_size=5),
    },
)


@each_format
@given(document=posted)
def test_a_posted_event_is_the_same_event_in_the_topic(
    case: Case, document: dict[str, Any]
) -> None:
    codec = case.codec(max_bytes=10_000)
    key, value = codec.record(msgspec.json.encode(document), document["ts"])
    wanted = msgspec.convert(document, codec.stream.event_type)
    assert codec.decode_one(value) == wanted
    assert codec.key(value) == key == document["userId"].encode()
    back = msgspec.json.decode(codec.json(value))
    assert {name: back[name] for name in document} == document


@each_format
@pytest.mark.parametrize("changes", [{"ts": -1}, {"price": "12"}, {"userId": ""}, {"tags": "a"}])
def test_a_posted_event_is_refused_by_the_rules_of_records(
    case: Case, changes: dict[str, Any]
) -> None:
    (field,) = changes
    with pytest.raises(BadRecord, match=rf"\$\.{field}"):
        case.codec().record(msgspec.json.encode(GOOD | changes), STAMP_MS)


@each_format
def test_a_posted_event_that_is_too_large_or_no_json_is_refused(case: Case) -> None:
    with pytest.raises(BadRecord, match="more than the 400 allowed"):
        case.codec().record(msgspec.json.encode(GOOD | {"note": "x" * 400}), STAMP_MS)
    with pytest.raises(BadRecord, match="malformed"):
        case.codec().record(b"{no json", STAMP_MS)


@each_format
def test_the_format_changes_no_name_or_rule_of_the_fields(case: Case) -> None:
    stream = case.codec().stream
    in_json = replace(stream, format=Json())
    assert dict(stream.fields) == dict(in_json.fields)
    described = [msgspec.json.schema(one.event_type) for one in (stream, in_json)]
    assert described[0] == described[1]
