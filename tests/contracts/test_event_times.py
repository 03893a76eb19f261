"""What holds for event times of every kind, in every format, at both doors."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank import Avro, Entity, Stream
from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.actors.records import RecordBatch, RejectKind
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.formats import Json, RecordFormat

STAMP_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def moment(ms: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(milliseconds=ms)


def text(ms: int) -> str:
    return moment(ms).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Kind:
    """A way to write an event time: as JSON has it, and as an Avro record has it."""

    name: str
    type: Any
    of_ms: Callable[[int], Any]
    """The time as JSON has it."""
    settings: dict[str, Any]
    avro: Any
    """The type of the Avro field."""
    in_avro: Callable[[int], Any]
    """The time as fastavro takes it."""
    step_ms: int = 1
    """The shortest time that it can tell."""


def timestamp(logical: str) -> dict[str, str]:
    return {"type": "long", "logicalType": logical}


def us(ms: int) -> int:
    return ms * 1000 + 999


def ns(ms: int) -> int:
    return ms * 1_000_000 + 999_999


def local(ms: int) -> str:
    """A time of Berlin in winter, without its zone."""
    return text(ms + HOUR_MS)[:-1]


BERLIN = {"time_zone": "Europe/Berlin"}
KINDS = [
    Kind("s", int, lambda ms: ms // 1000, {"time_unit": "s"}, "long", lambda ms: ms // 1000, 1000),
    Kind("ms", int, int, {}, timestamp("timestamp-millis"), int),
    Kind("us", int, us, {"time_unit": "us"}, timestamp("timestamp-micros"), us),
    Kind("ns", int, ns, {"time_unit": "ns"}, timestamp("timestamp-nanos"), ns),
    Kind("text", str, text, {}, "string", text),
    Kind("local text", str, local, BERLIN, "string", local),
    Kind("datetime", datetime.datetime, text, {}, timestamp("timestamp-millis"), moment),
    Kind("micros", datetime.datetime, text, {}, ["null", timestamp("timestamp-micros")], moment),
    Kind("datetime of text", datetime.datetime, text, {}, "string", text),
    Kind("local datetime", datetime.datetime, local, BERLIN, "string", local),
    Kind("local to zoned", datetime.datetime, local, BERLIN, timestamp("timestamp-millis"), moment),
]


class Door:
    """A stream of one kind of time in one format."""

    def __init__(self, kind: Kind, in_avro: bool) -> None:
        fields: list[Any] = [("id", str), ("user", str), ("at", kind.type), ("n", int, 0)]
        types = {"id": "string", "user": "string", "at": kind.avro, "n": "long"}
        self.schema = {
            "type": "record",
            "name": "Play",
            "fields": [{"name": name, "type": one} for name, one in types.items()],
        }
        form: RecordFormat = Avro(self.schema) if in_avro else Json()
        self.stream = Stream(
            "plays",
            id="id",
            time="at",
            key=Entity("user", key="user"),
            schema=msgspec.defstruct("Play", fields, rename="camel"),
            format=form,
            **kind.settings,
        )
        self.codec = Codec(self.stream)
        self._kind = kind
        self._avro = fastavro.parse_schema(self.schema) if in_avro else None

    def document(self, at: Any) -> bytes:
        return json.dumps({"id": "e", "user": "u", "at": at, "n": 1}).encode()

    def record(self, ms: int) -> bytes:
        if self._avro is None:
            return self.document(self._kind.of_ms(ms))
        out = BytesIO()
        event = {"id": "e", "user": "u", "at": self._kind.in_avro(ms), "n": 1}
        fastavro.schemaless_writer(out, self._avro, event)
        return out.getvalue()


each_format = pytest.mark.parametrize("in_avro", [False, True], ids=["json", "avro"])
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
# A winter of Berlin, so that its local times are an hour ahead.
times_ms = st.integers(STAMP_MS - 14 * 86_400_000, STAMP_MS)


def batch(values: Sequence[bytes]) -> RecordBatch:
    return consecutive_records("plays", 0, values, STAMP_MS, begin=100)


@each_format
@each_kind
@given(at_ms=times_ms)
def test_records_and_posted_events_have_the_same_time_in_milliseconds(
    kind: Kind, in_avro: bool, at_ms: int
) -> None:
    door = Door(kind, in_avro)
    key, posted = door.codec.record(door.document(kind.of_ms(at_ms)), STAMP_MS)
    columns, rejected = door.codec.decode(batch([door.record(at_ms), posted]))
    assert rejected == []
    wanted = at_ms // kind.step_ms * kind.step_ms
    assert columns.event_times_ms.tolist() == [wanted, wanted]
    assert key == b"u"
    for value in (door.record(at_ms), posted):
        assert door.codec.key(value) == b"u"
        assert msgspec.json.decode(door.codec.json(value))["user"] == "u"


@each_format
@each_kind
def test_a_time_too_far_ahead_is_refused_at_both_doors(kind: Kind, in_avro: bool) -> None:
    door = Door(kind, in_avro)
    last, beyond = STAMP_MS + HOUR_MS, STAMP_MS + HOUR_MS + 1000
    columns, (rejected,) = door.codec.decode(batch([door.record(last), door.record(beyond)]))
    assert columns.offsets.tolist() == [100]
    assert (rejected.offset, rejected.kind) == (101, RejectKind.TIME_AHEAD)
    assert rejected.reason.startswith("at: more than 1h ahead")
    door.codec.record(door.document(kind.of_ms(last)), STAMP_MS)
    with pytest.raises(BadRecord, match=r"ahead of the log.*- at `\$\.at`$"):
        door.codec.record(door.document(kind.of_ms(beyond)), STAMP_MS)


@each_format
@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda kind: kind.name)
@pytest.mark.parametrize("other", KINDS[:4], ids=lambda kind: kind.name)
def test_an_integer_in_another_unit_is_refused_at_both_doors(
    kind: Kind, other: Kind, in_avro: bool
) -> None:
    if kind is other:
        return
    door, wrong = Door(kind, in_avro), other.of_ms(STAMP_MS)
    value = door.record(STAMP_MS)
    as_given = Door(Kind("", int, int, kind.settings, "long", int), in_avro).record(wrong)
    columns, (rejected,) = door.codec.decode(batch([value, as_given]))
    assert columns.offsets.tolist() == [100]
    assert (rejected.offset, rejected.kind) == (101, RejectKind.TIME_UNIT)
    units = f"in {UNIT_NAMES[other.name]}, not in {UNIT_NAMES[kind.name]}: "
    assert units in rejected.reason
    with pytest.raises(BadRecord, match=rf"{units}.*- at `\$\.at`$"):
        door.codec.record(door.document(wrong), STAMP_MS)


UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


@each_format
@pytest.mark.parametrize("time", [str, datetime.datetime])
def test_a_time_without_a_zone_is_refused_where_none_is_declared(time: Any, in_avro: bool) -> None:
    door = Door(Kind("", time, str, {}, "string", str), in_avro)
    naive = "2023-11-14T22:13:20"
    value = Door(Kind("", str, lambda _: naive, {}, "string", lambda _: naive), in_avro).record(0)
    columns, (rejected,) = door.codec.decode(batch([value]))
    assert (len(columns), rejected.kind) == (0, RejectKind.TIME_ZONE)
    assert "names no time zone" in rejected.reason
    assert "time_zone=" in rejected.reason
    with pytest.raises(BadRecord, match=r"names no time zone.*- at `\$\.at`$"):
        door.codec.record(door.document(naive), STAMP_MS)
    with pytest.raises(BadRecord, match="names no time zone"):
        door.codec.key(value)


@each_format
@pytest.mark.parametrize("time", [str, datetime.datetime])
@pytest.mark.parametrize("wrong", ["yesterday", "", "1969-12-31T00:00:00Z", "2024-13-01T00:00:00Z"])
def test_a_text_that_is_no_time_is_refused(time: Any, in_avro: bool, wrong: str) -> None:
    door = Door(Kind("", time, str, {}, "string", str), in_avro)
    value = Door(Kind("", str, lambda _: wrong, {}, "string", lambda _: wrong), in_avro).record(0)
    columns, (rejected,) = door.codec.decode(batch([value]))
    assert (len(columns), rejected.kind) == (0, RejectKind.INVALID)
    assert "at" in rejected.reason
    with pytest.raises(BadRecord, match=r"\$\.at"):
        door.codec.record(door.document(wrong), STAMP_MS)


def avro_mistake(time: Any, avro: Any, **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        Door(Kind("", time, str, settings, avro, str), in_avro=True)
    return str(caught.value)


def test_an_avro_type_that_is_not_what_is_declared_is_a_mistake_with_its_fix() -> None:
    micros = timestamp("timestamp-micros")
    assert 'Declare Stream(time_unit="us")' in avro_mistake(int, micros)
    assert 'Declare Stream(time_unit="ms")' in avro_mistake(
        int, ["null", timestamp("timestamp-millis")], time_unit="s"
    )
    assert "timestamp-millis, a timestamp-micros" in avro_mistake(
        datetime.datetime, timestamp("timestamp-nanos")
    )
    assert "timestamp-micros" in avro_mistake(str, micros)
    assert "is a date" in avro_mistake(int, {"type": "int", "logicalType": "date"})
