"""A whole system with a catalogue, features of items and of pairs, whose shard is killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiokafka
import msgspec
import pytest
from whole_system import WholeSystem, until

from freshrank.deploy.servers.brokers import Broker
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

ITEM_PARTITIONS = 3

OF_ITEMS = """
class Product(msgspec.Struct):
    item_id: int
    category_id: int
    price: float


item = Entity("item", key="item_id")
catalogue = Table("{topic}", key=item, schema=Product)


class Popularity(FeatureView):
    entity, source = item, behaviour
    popular = Count(where=col.type == "view", windows=["1h"])
    shoppers = LastK("user_id", k=8, repeats=False, learned=False)


class Affinity(FeatureView):
    entity, source = Entity("user_category", key=["user_id", "category_id"]), behaviour
    visited = Count(windows=["1h"])


pipeline = Pipeline("""

SOURCES = 'CoVisited("shoppers"), Popular("popular_1h"), Newest()'


def with_items(topic: str, text: str) -> str:
    """The text of the demo's pipeline, whose candidates name the item only."""
    for old, new in (
        ("    Stream,\n", "    CoVisited,\n    Newest,\n    Popular,\n    Stream,\n    Table,\n"),
        ("    optimizer=", f"    candidates=[{SOURCES}],\n    optimizer="),
        ("pipeline = Pipeline(", OF_ITEMS.replace("{topic}", topic)),
        (
            "features=[Activity],",
            "features=[Activity, Popularity, Affinity],\n    tables=[catalogue],",
        ),
        (
            'context=["item_id", "category_id"],',
            'context=["item_id", catalogue.category_id, catalogue.price],',
        ),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture
def shop(kafka: Broker, fresh_name: str, tmp_path: Path) -> Iterator[WholeSystem]:
    topic = f"{fresh_name}-catalogue"
    access = KafkaAccess(kafka.bootstrap)
    asyncio.run(ensure_topics(access, [topic], ITEM_PARTITIONS, compacted=True))
    often = {"FRESHRANK_SHARDS__SNAPSHOT_INTERVAL_S": "0.5", "FRESHRANK_SHARDS__COUNT": "2"}
    system = WholeSystem(
        kafka.bootstrap,
        tmp_path,
        fresh_name,
        settings=often,
        text=lambda text: with_items(topic, text),
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(system.redis)
        stack.callback(system.kill)
        system.start()
        yield system


def write(shop: WholeSystem, rows: Mapping[int, float | None]) -> None:
    """Write rows of the catalogue with these prices, and tombstones."""

    async def written() -> None:
        producer = aiokafka.AIOKafkaProducer(bootstrap_servers=shop.bootstrap)
        await producer.start()
        for item, price in rows.items():
            row = {"item_id": item, "category_id": item % 20, "price": price}
            value = None if price is None else msgspec.json.encode(row)
            topic = f"{shop.pipeline}-catalogue"
            await (await producer.send(topic, value, key=b"%d" % item))
        await producer.stop()

    asyncio.run(written())


def item(shop: WholeSystem, number: int) -> tuple[float | None, float]:
    """Price and number of views of an item, as a replica reads them."""
    features = shop.get(f"/v1/features/item/{number}")["features"]
    return features["price"], features["popular_1h"]


def is_item(shop: WholeSystem, number: int, price: float | None, views: float) -> None:
    until(lambda: item(shop, number) == (price, views))


def test_items_have_their_rows_and_features_after_a_kill_and_a_restart(shop: WholeSystem) -> None:
    shop.until_filled()
    write(shop, {number: 10.0 * number for number in range(1, 7)})
    for number in range(12):
        shop.event(f"u{number}", item=1 + number % 3)
    for number, views in ((1, 4.0), (3, 4.0), (5, 0.0)):
        is_item(shop, number, 10.0 * number, views)
    parts = {f"entity-{entity}-{at}" for entity in ("item", "user_category") for at in (0, 1)}
    assert parts <= shop.get("/v1/status").keys()
    for part in ("shard-0", "shard-1"):
        process = shop.process_of(part)
        write(shop, {1: None if part == "shard-0" else 15.0, 2: None, 4: 44.0})
        shop.event("late", item=1)
        os.kill(process, signal.SIGKILL)
        until(partial(replaced, shop, part, process))
    is_item(shop, 1, 15.0, 6.0)
    is_item(shop, 2, None, 4.0)
    is_item(shop, 4, 44.0, 0.0)
    until(shop.ready)
    # Users 0, 3, 6 and 9 viewed item 1, and some user viewed 1 late, too.
    until(lambda: recommended(shop, "u0") == {3, 4, 5, 6})
    until(lambda: recommended(shop, "new") == {1, 3, 4, 5, 6})
    answer = scored(shop, [1, 2, 4])
    assert answer["candidate_rows"][f"{shop.pipeline}-catalogue"]["missing"] == [1]
    assert answer["candidate_rows"][f"{shop.topic}.by_item"]["missing"] == [2]
    # User 1 viewed item 2, which has left the catalogue: its category is not known.
    assert answer["candidate_rows"][f"user_category/{shop.topic}"]["missing"] == [0, 1, 2]
    until(lambda: visited(shop, "late:1") == 2.0)
    answer = scored(shop, [1, 2, 4], "late")
    assert answer["candidate_rows"][f"user_category/{shop.topic}"]["missing"] == [1, 2]
    shop.forget("late")
    until(lambda: visited(shop, "late:1") == 0.0)
    assert shop.stop(signal.SIGTERM, group=False) == 0
    write(shop, {4: None, 5: 55.0})
    shop.start()
    shop.until_filled()
    is_item(shop, 5, 55.0, 0.0)
    is_item(shop, 4, None, 0.0)
    is_item(shop, 1, 15.0, 6.0)
    until(lambda: visited(shop, "u0:1") == 1.0)
    assert visited(shop, "late:1") == 0.0
    assert shop.stop(signal.SIGTERM, group=False) == 0


def visited(shop: WholeSystem, pair: str) -> float:
    """How often a user came to a category."""
    found: float = shop.get(f"/v1/features/user_category/{pair}")["features"]["visited_1h"]
    return found


def replaced(shop: WholeSystem, part: str, process: int) -> bool:
    return shop.process_of(part) != process


def recommended(shop: WholeSystem, user: str) -> set[int]:
    """The items that a user is recommended: those of the catalogue that they did not touch."""
    answer = shop.post("/v1/recommend", {"user": user, "k": 10})
    assert [item["score"] for item in answer["items"]] == sorted(
        (item["score"] for item in answer["items"]), reverse=True
    )
    return {item["id"] for item in answer["items"]}


def scored(shop: WholeSystem, items: list[int], user: str = "u1") -> Any:
    request = {"user": user, "candidates": [{"item_id": number} for number in items], "show": 2}
    return shop.post("/v1/score", request)
