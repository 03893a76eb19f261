"""A pipeline whose events hold lists, from a posted event to its features, and of a history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from fake_clock import FakeClock
from local_endpoint import local_endpoint

from freshrank import (
    Adagrad,
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    Table,
    col,
    get_historical_features,
)
from freshrank.actors.errors import BadRecord, ConfigError
from freshrank.deploy.wiring.local import World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.streams.codec import Codec

NOW_MS = 1_720_000_000_000


class Item(msgspec.Struct):
    product_id: int
    price: float
    kind: Literal["new", "used"] = "new"


class Order(msgspec.Struct):
    order_id: str
    shopper: str
    at: int
    items: list[Item]
    tags: list[str] | None = None
    channel: str = "web"
    shop: str = "main"


shopper = Entity("shopper", key="shopper")
orders = Stream("orders", id="order_id", time="at", key=shopper, schema=Order)


class Shopping(FeatureView):
    entity, source = shopper, orders
    orders_ = Count(windows=["1h"])
    used = Count(where=col.items.kind == "used", windows=["1h"])
    spent = Sum("items.price", windows=["1h"])
    spent_web = Sum("items.price", where=col.channel == "web", windows=["1h"])
    untagged = Count(where=col.channel.isin(["app"]), windows=["1h"])
    tags = DecayedCount(by="tags", half_life="1d", top=3)


pipeline = Pipeline(
    "orders",
    stream=orders,
    features=[Shopping],
    context=["shop"],
    label=Labelled(positive=col.channel == "app"),
    model=LogisticRegression(),
    optimizer=Adagrad(),
)


def order(number: int, items: object, **more: object) -> dict[str, Any]:
    return {
        "order_id": f"o{number}",
        "shopper": "ann",
        "at": NOW_MS - 1_000 * number,
        "items": items,
    } | more


THREE: list[dict[str, Any]] = [
    {"product_id": 1, "price": 2.5},
    {"product_id": 2, "price": 4.0, "kind": "used"},
    {"product_id": 3, "price": 0.5, "kind": "used"},
]
EVENTS = [
    order(1, THREE, tags=["gift", "gift", "sale"]),
    order(2, [], channel="app"),
    order(3, [{"product_id": 1, "price": 10}], tags=[], channel="app"),
    order(4, [{"product_id": 9, "price": 1.0}], tags=None),
]
WANTED = {
    "orders__1h": 4,
    "used_1h": 2,
    "spent_1h": 18.0,
    "spent_web_1h": 8.0,
    "untagged_1h": 2,
}
WRONG = [
    (order(5, {"product_id": 1, "price": 1}), "Expected `array`, got `object`", "items"),
    (order(6, [1]), "Expected `object`, got `int`", "items[0]"),
    (
        order(7, [{"product_id": 1, "price": "2"}]),
        "Expected `float`, got `str`",
        "items[0].price",
    ),
    (order(8, [{"product_id": 2**70, "price": 2}]), "Expected `int` <=", "items[0].product_id"),
    (
        order(12, [THREE[0], THREE[0] | {"kind": "old"}]),
        "Invalid enum value 'old', it is 'new' or 'used'",
        "items[1].kind",
    ),
    (order(9, None), "Expected `array`, got `null`", "items"),
    (order(10, [], channel=["web"]), "Expected `str`, got `array`", "channel"),
    (order(11, [], tags="gift"), "Expected `array | null`, got `str`", "tags"),
]


async def story() -> dict[str, Any]:
    log = MemoryLog(1)
    async with local_endpoint(pipeline, World(log, FakeClock(NOW_MS))) as (system, client):
        found: dict[str, Any] = {"posted": await client.post("/v1/events", json=EVENTS)}
        found["wrong"] = [await client.post("/v1/events", json=one) for one, *_ in WRONG]
        for one, *_ in WRONG:
            log.append("orders", 0, msgspec.json.encode(one), NOW_MS, b"ann")
        for _ in range(3):
            await system.step()
        found["features"] = await client.get("/v1/features/shopper/ann")
        found["document"] = await client.get("/openapi.json")
    found["dead"] = log.end("orders.dead", 0)
    return found


def test_posted_lists_are_in_the_features_and_wrong_ones_are_told_with_their_place() -> None:
    found = asyncio.run(story())
    assert found["posted"].status_code == 200, found["posted"].text
    features = found["features"].json()["features"]
    assert {name: features[name] for name in WANTED} == WANTED
    weights = [entry["weight"] for entry in features["tags"]]
    assert weights == pytest.approx([2.0, 1.0], rel=1e-3)
    for answer, (_, reason, path) in zip(found["wrong"], WRONG, strict=True):
        assert answer.status_code == 422
        assert reason in answer.text
        assert path in answer.text
    assert found["dead"] == len(WRONG)
    document = found["document"].json()
    body = document["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    (event, _) = body["schema"]["anyOf"]
    schemas = document["components"]["schemas"]
    one = schemas[event["$ref"].rpartition("/")[2]]
    assert one["properties"]["items"]["type"] == "array"
    of = one["properties"]["items"]["items"]["$ref"].rpartition("/")[2]
    price = schemas[of]["properties"]["price"]
    assert price == {"type": "number"}


async def misspelt() -> tuple[httpx.Response, dict[str, Any]]:
    """The answer to a posted event with another field in an element, and the features of a record
    of the same value."""
    log, wrong = MemoryLog(1), order(1, [{"product_id": 1, "price": 2, "knd": "used"}])
    async with local_endpoint(pipeline, World(log, FakeClock(NOW_MS))) as (system, client):
        answer = await client.post("/v1/events", json=[EVENTS[0], wrong])
        log.append("orders", 0, msgspec.json.encode(wrong), NOW_MS, b"ann")
        for _ in range(3):
            await system.step()
        features = (await client.get("/v1/features/shopper/ann")).json()["features"]
    return answer, features


def test_a_misspelt_field_in_a_list_is_refused_where_it_is_posted_and_ignored_in_the_log() -> None:
    answer, features = asyncio.run(misspelt())
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["field"] == "events[1].items[0]"
    assert error["reason"].startswith("Object contains unknown field `knd`; did you mean `kind`?")
    assert features["orders__1h"] == 1


@pytest.mark.parametrize("event, reason, path", WRONG)
def test_a_record_with_another_type_in_or_for_a_list_is_rejected_with_its_place(
    event: dict[str, Any], reason: str, path: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        Codec(orders).decode_one(msgspec.json.encode(event))
    assert reason in caught.value.reason
    assert caught.value.reason.endswith(f"`$.{path}`")


def json_lines(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(one) for one in EVENTS), encoding="utf-8")
    return path


def parquet(path: Path) -> Path:
    whole = msgspec.to_builtins(msgspec.convert(EVENTS, list[Order]))
    names = whole[0]
    pyarrow.parquet.write_table(
        pa.table({name: [one[name] for one in whole] for name in names}), path
    )
    return path


@pytest.mark.parametrize("write", [json_lines, parquet])
def test_a_history_of_lists_gives_the_same_features(
    tmp_path: Path, write: Callable[[Path], Path]
) -> None:
    file = write(tmp_path / f"orders.{'jsonl' if write is json_lines else 'parquet'}")
    rows = [{"shopper": "ann", "time": NOW_MS}]
    (row,) = get_historical_features(pipeline, rows, [file]).to_pylist()
    assert {name: row[name] for name in WANTED} == WANTED


def view(feature: object, **body: object) -> type[FeatureView]:
    return type("V", (FeatureView,), {"entity": shopper, "source": orders, "f": feature} | body)


TWO = "'items.price' and 'tags' are of several lists"
SEVERAL = "of the list 'items', of which an event may have several.*Only the aggregates of a view"


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda: view(Sum("items.price", where=col.tags == "a", windows=["1h"])), TWO),
        (lambda: view(Sum("items.prise", windows=["1h"])), "Did you mean 'items.price'"),
        (lambda: view(Sum("items", windows=["1h"])), r"\(list\).*fields are 'items.product_id'"),
        (lambda: view(Sum("items.kind", windows=["1h"])), "the field 'items.kind' is str"),
        (
            lambda: view(Count(windows=["1h"]), entity=Entity("item", key="items.product_id")),
            SEVERAL,
        ),
        (lambda: replace(pipeline, context=["items.kind"]), SEVERAL),
        (lambda: replace(pipeline, context=["tags"]), "one of the values of the list 'tags'"),
        (lambda: replace(pipeline, label=Labelled(target="items.price")), SEVERAL),
        (lambda: replace(pipeline, label=Labelled(positive=col.items.price > 1)), SEVERAL),
        (
            lambda: replace(pipeline, label=Joined(col.items.price > 1, "shop", "1m")),
            SEVERAL,
        ),
        (lambda: Table("t", key=shopper, schema=Order).column("tags"), "of the list 'tags'"),
    ],
)
def test_a_list_where_one_value_is_due_is_a_mistake_of_the_pipeline(
    write: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        write()
