import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.errors import BadRecord
from freshrank.actors.records import RecordBatch, RejectKind
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.stream import Entity, Stream

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


stream = Stream(
    "orders",
    id="event_id",
    time="ts",
    key=Entity("user", key="user_id"),
    schema=Order,
    max_bytes=400,
)
codec = Codec(stream)

GOOD: dict[str, Any] = {
    "eventId": "e",
    "userId": "u",
    "ts": STAMP_MS,
    "itemCount": 3,
    "price": 1.5,
}


def batch(values: Sequence[bytes | None]) -> RecordBatch:
    return consecutive_records("orders", 4, values, STAMP_MS, begin=100)


def record(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


def test_good_records_become_columns_in_log_order() -> None:
    columns, rejected = codec.decode(batch([record(), record(userId="v", ts=5, rank=None)]))
    assert rejected == []
    assert columns.offsets.tolist() == [100, 101]
    assert columns.event_times_ms.tolist() == [STAMP_MS, 5]
    assert columns.text("user_id") == ["u", "v"]
    assert columns.hashed("rank").tolist() == [7, 0]
    assert columns.number("item_count").tolist() == [3.0, 3.0]


def test_fields_that_the_schema_does_not_name_are_ignored() -> None:
    columns, rejected = codec.decode(batch([record(extra={"deep": [1, None]})]))
    assert (len(columns), rejected) == (1, [])


BAD: dict[str, tuple[bytes | None, str]] = {
    "a tombstone": (None, "tombstone"),
    "nothing": (b"", "truncated"),
    "no JSON": (b"{'eventId'", "malformed"),
    "no object": (b"[1]", "Expected `object`"),
    "no UTF-8": (record().replace(b'"u"', b'"\xff"'), "utf-8"),
    "half a surrogate": (record().replace(b'"u"', b'"\\ud800"'), "surrogate"),
    "too large": (record(note="x" * 400), "more than the 400 allowed"),
    "a missing field": (without("price"), "price"),
    "a text time": (record(ts="now"), r"\$\.ts"),
    "a fractional time": (record(ts=1.5), r"\$\.ts"),
    "a negative time": (record(ts=-1), r"\$\.ts"),
    "a time beyond 64 bits": (record(ts=2**64), r"\$\.ts"),
    "the last time of 64 bits": (record(ts=2**63 - 1), "^ts: more than 1h ahead"),
    "a time too far ahead": (record(ts=STAMP_MS + AHEAD_MS + 1), "^ts: more than 1h ahead"),
    "no time": (record(ts=None), r"\$\.ts"),
    "an empty key": (record(userId=""), r"\$\.userId"),
    "a null key": (record(userId=None), r"\$\.userId"),
    "an empty id": (record(eventId=""), r"\$\.eventId"),
    "an id that is too long": (record(eventId="e" * 257), r"\$\.eventId"),
    "a key that is too long": (record(userId="u" * 257), r"\$\.userId"),
    "NaN under half a surrogate": (record()[:-1] + rb', "\ud800": NaN}', "^.ud800: NaN"),
    "a text number": (record(price="12"), r"\$\.price"),
    "NaN": (record(price=float("nan")), "^price: NaN and Infinity"),
    "Infinity": (record(price=float("inf")), "^price: NaN and Infinity"),
    "a number beyond float64": (record().replace(b"1.5", b"1e999"), r"\$\.price"),
    "an integer beyond 64 bits": (record(itemCount=2**63), r"\$\.itemCount"),
    "one below 64 bits": (record(itemCount=-(2**63) - 1), r"\$\.itemCount"),
    "an optional one beyond": (record(rank=2**63), r"\$\.rank"),
    "a wrong type that no feature uses": (record(tags="a"), r"\$\.tags"),
}


@pytest.mark.parametrize(("value", "reason"), BAD.values(), ids=BAD.keys())
def test_a_bad_record_is_rejected_with_its_reason_and_the_others_go_on(
    value: bytes | None, reason: str
) -> None:
    columns, rejected = codec.decode(batch([record(), value, record(userId="v")]))
    assert columns.text("user_id") == ["u", "v"]
    assert columns.offsets.tolist() == [100, 102]
    assert len(rejected) == 1
    assert (rejected[0].topic, rejected[0].partition, rejected[0].offset) == ("orders", 4, 101)
    assert rejected[0].value == value
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(rejected[0].reason)


def test_json_that_is_nested_too_deeply_is_rejected() -> None:
    deep = record(extra=0)[:-2] + b"[" * 100_000
    columns, rejected = Codec(replace(stream, max_bytes=1_000_000)).decode(batch([deep, record()]))
    assert columns.offsets.tolist() == [101]
    assert rejected[0].reason == "JSON is nested too deeply"


def test_the_furthest_time_ahead_is_still_good() -> None:
    columns, _ = codec.decode(batch([record(ts=STAMP_MS + AHEAD_MS), record(ts=0)]))
    assert len(columns) == 2


def test_all_that_is_wrong_with_a_batch_is_told_in_log_order() -> None:
    late = record(ts=STAMP_MS + AHEAD_MS + 1)
    columns, rejected = codec.decode(batch([late, None, record(), late, b"x"]))
    assert columns.offsets.tolist() == [102]
    assert [one.offset for one in rejected] == [100, 101, 103, 104]


def test_a_batch_without_one_good_record_gives_empty_columns() -> None:
    columns, rejected = codec.decode(batch([None, b"x"]))
    assert (len(columns), len(rejected)) == (0, 2)
    assert columns.hashed("user_id").tolist() == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.binary(max_size=60) | st.tuples(st.sampled_from([*GOOD, "rank"]), json_values))
def test_whatever_comes_is_taken_or_rejected_and_every_column_can_be_had(
    what: bytes | tuple[str, Any],
) -> None:
    value = what if isinstance(what, bytes) else record(**{what[0]: what[1]})
    columns, rejected = codec.decode(batch([value]))
    assert len(columns) + len(rejected) == 1
    for name, field in stream.fields.items():
        taken = columns.text(name) if field.kind.value is str else columns.number(name)
        assert len(taken) == len(columns)


def test_a_tagged_schema_with_rules_of_its_own_keeps_them() -> None:
    class Rated(msgspec.Struct, tag=True, frozen=True):
        event_id: str
        user_id: str
        ts: int
        stars: int = 1

        def __post_init__(self) -> None:
            if self.stars > 5:
                raise ValueError("at most five stars")

    rated = Codec(
        Stream("r", id="event_id", time="ts", key=Entity("u", key="user_id"), schema=Rated)
    )
    good = {"type": "Rated", "event_id": "e", "user_id": "u", "ts": 1}
    values = [good, good | {"stars": 6}, good | {"type": "Other"}]
    columns, rejected = rated.decode(batch([json.dumps(value).encode() for value in values]))
    assert columns.offsets.tolist() == [100]
    assert "five stars" in rejected[0].reason
    assert "Other" in rejected[1].reason


UNITS = {"seconds": STAMP_MS // 1000, "micro": STAMP_MS * 1000, "nano": STAMP_MS * 1_000_000}


@pytest.mark.parametrize(("unit", "time"), UNITS.items())
def test_a_time_in_another_unit_is_dead_by_that_reason(unit: str, time: int) -> None:
    columns, rejected = codec.decode(batch([record(), record(ts=time), b"x", record(ts=5)]))
    assert columns.offsets.tolist() == [100, 103]
    assert [one.offset for one in rejected] == [101, 102]
    assert rejected[0].kind is RejectKind.TIME_UNIT
    assert rejected[0].reason.startswith(f"ts: {time} is a time in {unit}")
    assert rejected[1].kind is RejectKind.INVALID


@pytest.mark.parametrize("time", [*UNITS.values(), STAMP_MS + AHEAD_MS + 1, 10**18])
def test_a_posted_event_whose_time_cannot_be_right_is_no_record(time: int) -> None:
    with pytest.raises(BadRecord, match=r"- at `\$\.ts`$"):
        codec.record(record(ts=time), STAMP_MS)
    assert codec.record(record(ts=STAMP_MS + AHEAD_MS), STAMP_MS)[0] == b"u"


def test_a_posted_time_is_named_as_in_the_json() -> None:
    class Read(msgspec.Struct, rename="camel"):
        event_id: str
        user_id: str
        happened_at: int

    reader = Entity("user", key="user_id")
    reads = Codec(Stream("reads", id="event_id", time="happened_at", key=reader, schema=Read))
    with pytest.raises(BadRecord, match=r"seconds.*- at `\$\.happenedAt`$"):
        reads.record(b'{"eventId":"e","userId":"u","happenedAt":1700000000}', STAMP_MS)


class Device(msgspec.Struct):
    size: Literal[7, 8]


class Visit(msgspec.Struct):
    visit_id: str
    user_id: str
    ts: int
    page: Literal["home", "basket"]
    device: Device | None = None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("page", "hom", "Invalid enum value 'hom', it is 'basket' or 'home' - at `$.page`"),
        ("device", {"size": 9}, "Invalid enum value 9, it is 7 or 8 - at `$.device.size`"),
        ("page", 5, "Expected `str`, got `int` - at `$.page`"),
    ],
)
def test_a_value_that_a_field_may_not_have_is_told_with_those_it_may(
    field: str, value: object, reason: str
) -> None:
    visits = replace(stream, topic="visits", id="visit_id", schema=Visit)
    event = {"visit_id": "v", "user_id": "u", "ts": STAMP_MS, "page": "home", field: value}
    with pytest.raises(BadRecord) as refused:
        Codec(visits).record(json.dumps(event).encode(), STAMP_MS)
    assert refused.value.reason == reason
