"""Streams whose events are of several kinds, from their records to conditions and features."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from freshrank import (
    Avro,
    Count,
    Entity,
    FeatureView,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    col,
    get_historical_features,
)
from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.streams.codec import Codec

START_MS = 1_720_000_000_000


class Item(msgspec.Struct):
    price: float


class Click(msgspec.Struct, tag="click", rename="camel"):
    event_id: str
    user_id: str
    at: int
    rank: int = 7
    page: str = "home"


class Purchase(msgspec.Struct, tag="purchase", rename="camel"):
    event_id: str
    user_id: str
    at: int
    total_price: float
    items: list[Item] = []
    page: str | None = None


class Login(msgspec.Struct, tag="login", rename="camel"):
    event_id: str
    user_id: str
    at: int


user = Entity("user", key="user_id")


def stream(schema: Any = Click | Purchase | Login, **changes: Any) -> Stream:
    given: dict[str, Any] = {"id": "event_id", "time": "at", "key": user} | changes
    return Stream("events", schema=schema, **given)


def event(kind: str, number: int = 0, **fields: Any) -> dict[str, Any]:
    own = {"type": kind, "eventId": f"e{number}", "userId": "ann", "at": START_MS + number}
    return own | fields


EVENTS = [
    event("click", 0, rank=3),
    event("purchase", 1, totalPrice=2.5, items=[{"price": 1.5}, {"price": 1.0}], page="cart"),
    event("login", 2),
    event("click", 3, totalPrice=99.0, items=[{"price": 99.0}]),
    event("purchase", 4, totalPrice=4.0),
]


def test_a_posted_event_with_a_field_of_another_kind_is_refused_and_a_record_is_not() -> None:
    def posted(number: int, *, closed: bool = True) -> bytes:
        document = json.dumps(EVENTS[number]).encode()
        return Codec(stream(), closed=closed).record(document, START_MS)[1]

    for number in (0, 1, 2, 4):
        assert json.loads(posted(number)) == EVENTS[number]
    reason = "'click' has no such field, only `type`, `eventId`, `userId`, `at`, `rank`, `page`"
    with pytest.raises(BadRecord) as caught:
        posted(3)
    assert caught.value.reason == f"{reason} - at `$.totalPrice`"
    assert posted(3, closed=False)
    void = event("login", 5, totalPrice=None)
    assert Codec(stream(), closed=True).record(json.dumps(void).encode(), START_MS)


def test_all_kinds_have_all_fields_and_what_a_kind_lacks_is_null() -> None:
    fields = stream().fields
    assert fields["type"].choices == ("click", "login", "purchase")
    assert [name for name in fields if not fields[name].optional] == [
        "type", "event_id", "user_id", "at",
    ]  # fmt: skip
    values = [json.dumps(one).encode() for one in EVENTS]
    batch = consecutive_records("events", 0, values, np.full(5, START_MS + 10), 0)
    columns, rejected = Codec(stream()).decode(batch)
    assert rejected == []
    assert (col.type == "purchase").evaluate(columns).tolist() == [False, True, False, False, True]
    assert columns.values("rank") == [3, None, None, 7, None]
    assert columns.values("page") == ["home", "cart", None, "home", None]
    np.testing.assert_array_equal(columns.number("total_price"), [np.nan, 2.5, np.nan, np.nan, 4.0])
    assert len(columns.elements("items")) == 2 + 4


def avro(fields: dict[str, Any]) -> Avro:
    listed = [{"name": name, "type": kind} for name, kind in fields.items()]
    return Avro({"type": "record", "name": "Event", "fields": listed})


IN_AVRO = avro(
    {
        "type": "string",
        "eventId": "string",
        "userId": "string",
        "at": "long",
        "totalPrice": ["null", "double"],
        "page": ["null", "string"],
    }
)


@pytest.mark.parametrize("changes", [{}, {"format": IN_AVRO}])
def test_a_posted_event_is_an_event_of_its_kind_in_the_topic(changes: dict[str, Any]) -> None:
    codec = Codec(stream(**changes))
    for one in (event("purchase", totalPrice=2.5), event("login")):
        key, value = codec.record(json.dumps(one).encode(), START_MS)
        read = codec.decode_one(value)
        assert key == b"ann"
        assert msgspec.to_builtins(read)["type"] == one["type"]
        assert msgspec.to_builtins(read)["totalPrice"] == one.get("totalPrice")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (event("purchase"), "missing required field `totalPrice`"),
        (event("purchase", totalPrice=None), "missing required field `totalPrice`"),
        (event("order"), "Invalid enum value 'order', it is 'click' or 'login' or 'purchase'"),
        ({"eventId": "e", "userId": "ann", "at": 5}, "missing required field `type`"),
        (event("click", rank="first"), "Expected `int | null`, got `str` - at `$.rank`"),
    ],
)
def test_a_record_that_is_no_event_of_its_kind_is_rejected(
    wrong: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        Codec(stream()).decode_one(json.dumps(wrong).encode())
    assert reason in caught.value.reason


class Untagged(msgspec.Struct):
    event_id: str


class Other(msgspec.Struct, tag="other"):
    event_id: str
    user_id: str
    at: int
    rank: str


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (Click | Untagged, "all Struct types must be tagged"),
        (Click | int, "is not a union of structs"),
        (Click | Other, "the field 'event_id' of Other differs from that of Click"),
        (Click | Purchase | Untagged, "must be tagged"),
    ],
)
def test_a_union_that_is_no_schema_is_a_mistake(schema: Any, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        stream(schema)
    assert caught.value.place == "Stream('events').schema"


def test_id_time_and_key_are_fields_of_every_kind() -> None:
    with pytest.raises(ConfigError, match=r"the field 'total_price' may be None|is float"):
        stream(id="total_price")
    with pytest.raises(ConfigError, match="'rank' may be None"):
        stream(id="rank")


visits = stream()


class Visiting(FeatureView):
    entity, source = user, visits
    clicks = Count(where=col.type == "click", windows=["1h"])
    spent = Sum("total_price", windows=["1h"])
    items = Sum("items.price", where=col.type == "purchase", windows=["1h"])


def test_features_select_by_the_tag(tmp_path: Path) -> None:
    pipeline = Pipeline(
        "visits",
        stream=visits,
        features=[Visiting],
        context=["page"],
        label=Labelled(positive=col.type == "purchase", among=col.type != "login"),
        model=LogisticRegression(),
    )
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, EVENTS)), encoding="utf-8")
    rows = [{"userId": "ann", "time": START_MS + 10}]
    (row,) = get_historical_features(pipeline, rows, [file]).to_pylist()
    assert (row["clicks_1h"], row["spent_1h"], row["items_1h"]) == (2, 6.5, 2.5)
