"""Views that are removed leave nothing in files, and are whole again when they come back."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from whole_system import WholeSystem, until

from freshrank.deploy.servers.brokers import Broker

VIEWS = """
class Popularity(FeatureView):
    entity, source = Entity("item", key="item_id"), behaviour
    popular = Count(where=col.type == "view", windows=["1h"])
    shoppers = LastK("user_id", k=8, learned=False)


class Affinity(FeatureView):
    entity, source = Entity("user_category", key=["user_id", "category_id"]), behaviour
    visited = Count(windows=["1h"])


pipeline = Pipeline("""
CHANGES = (
    ("pipeline = Pipeline(", VIEWS),
    ("features=[Activity],", "features=[Activity, Popularity, Affinity],"),
)
ITEM, OTHER, GONE = 70_707_070_707, 8, "ada-who-leaves"
"""Ids of an item and of a user that are found in files where they are, and another item."""


def with_views(text: str) -> str:
    """The demo's pipeline with features of items, and of users and categories."""
    for without, given in CHANGES:
        assert text.count(without) == 1, without
        text = text.replace(without, given)
    return text


def without_views(text: str) -> str:
    for without, given in CHANGES:
        assert text.count(given) == 1, given
        text = text.replace(given, without)
    return text


@pytest.fixture
def shop(kafka: Broker, fresh_name: str, tmp_path: Path) -> Iterator[WholeSystem]:
    often = {"FRESHRANK_SHARDS__SNAPSHOT_INTERVAL_S": "0.5"}
    with contextlib.ExitStack() as stack:
        system = WholeSystem(kafka.bootstrap, tmp_path, fresh_name, settings=often, text=with_views)
        stack.enter_context(system.redis)
        stack.callback(system.kill)
        system.start()
        yield system


def features(shop: WholeSystem, entity: str, key: object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = shop.get(f"/v1/features/{entity}/{key}")["features"]
    return found


def is_item(shop: WholeSystem, number: int, views: float, *of: int) -> None:
    """Wait until an item was viewed so often, by users of whom each did so often."""

    def told() -> bool:
        found = features(shop, "item", number)
        who = Counter(one["id"] for one in found["shoppers"])
        return found["popular_1h"] == views and sorted(who.values()) == sorted(of)

    until(told)


def visited(shop: WholeSystem, user: str, item: int) -> float:
    found: float = features(shop, "user_category", f"{user}:{item % 20}")["visited_1h"]
    return found


def holding(folder: Path, text: str) -> list[Path]:
    """The files below a folder in which `text` is; a running system removes old ones meanwhile."""
    found = []
    for path in folder.rglob("*.snapshot"):
        with contextlib.suppress(FileNotFoundError):
            found += [path] if text.encode() in path.read_bytes() else []
    return found


def again(shop: WholeSystem, *, views: bool) -> str:
    """Stop, put the views into the pipeline's file or out of it, and start.

    Gives what `freshrank plan` said before.
    """
    assert shop.stop(signal.SIGTERM, group=False) == 0, shop.log()
    shop.rewrite(with_views if views else without_views)
    status, printed = shop.plan()
    assert status == 0, printed
    shop.start()
    shop.until_filled()
    return printed


def test_views_that_are_removed_leave_no_id_in_files_and_come_back_whole(
    shop: WholeSystem,
) -> None:
    shop.until_filled()
    for user in ("steady", GONE, "steady"):
        shop.event(user, item=ITEM)
    is_item(shop, ITEM, 3.0, 2, 1)
    until(lambda: visited(shop, GONE, ITEM) == 1.0)
    entities = shop.state / "entities"
    until(lambda: holding(entities / "item", str(ITEM)))
    until(lambda: holding(entities / "user_category", GONE))
    until(lambda: [*entities.glob("item/copies/*.snapshot")])

    printed = again(shop, views=False)
    for one in ("entities/item (", "entities/user_category ("):
        assert one in printed and one in shop.log(), printed
    assert "removing what is declared no more" in shop.log()
    assert holding(entities, str(ITEM)) == holding(entities, GONE) == []
    assert [*entities.iterdir()] == []
    shop.forget(GONE)
    _, offset = shop.event("steady", item=ITEM)
    shop.event("new", item=OTHER)
    shop.features_with("steady", offset)

    printed = again(shop, views=True)
    assert "fill  popular_1h" in printed and "removes" not in printed
    # What came meanwhile counts, and what was copied before does not count twice.
    is_item(shop, ITEM, 4.0, 3, 1)
    is_item(shop, OTHER, 1.0, 1)
    until(lambda: visited(shop, "steady", ITEM) == 3.0)
    assert visited(shop, "new", OTHER) == 1.0
    assert visited(shop, GONE, ITEM) == 0.0
    until(lambda: not holding(entities, GONE))  # of each kind the newest three are kept
    shop.event("new", item=ITEM)
    is_item(shop, ITEM, 5.0, 3, 1, 1)
    assert shop.stop(signal.SIGTERM, group=False) == 0, shop.log()
