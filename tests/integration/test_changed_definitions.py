"""A start whose definitions have changed keeps what did not: features, weights, what was shown."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from whole_system import CANDIDATES, SHOW, WholeSystem, until

CLICKS = '    clicks = Count(where=col.type == "click", windows=["1m", "5m", "1h"])\n'
SPEND = '    spend = Sum("price", where=col.type == "order", windows=["1h", "7d"])\n'
SPEND_OF_DAY = SPEND.replace('"1h", "7d"', '"7d", "1d"')
CARTS = '    carts = Count(where=col.type == "cart", windows=["1h"])\n'
CONTEXT = '    context=["item_id", "category_id"],\n'
CROSSES = '    crosses=[("user_id", "category_id")],\n'


def changed(text: str) -> str:
    """Without the counts of clicks, with those of carts, a window for another, a cross of ids."""
    assert CLICKS in text and SPEND in text and CONTEXT in text
    text = text.replace(CLICKS, CARTS).replace(SPEND, SPEND_OF_DAY)
    return text.replace(CONTEXT, CONTEXT + CROSSES)


def as_before(text: str) -> str:
    text = text.replace(CARTS, CLICKS).replace(SPEND_OF_DAY, SPEND)
    return text.replace(CROSSES, "")


def lasting(features: Any) -> tuple[float, list[int]]:
    """Those features that no passing of time changes within the test."""
    return features["spend_7d"], [one["id"] for one in features["recent"]]


def weight_of(system: WholeSystem, user: str) -> float:
    """What the user's id adds to a score: its weight, whatever other inputs there are."""
    body = {"user": user, "candidates": CANDIDATES[:1]}
    (candidate,) = system.post("/v1/explain", body)["candidates"]
    (found,) = [
        one["contribution"] for one in candidate["contributions"] if one["input"] == "user_id"
    ]
    return float(found)


def total(system: WholeSystem, counter: str) -> int:
    parts = system.get("/v1/status")
    return sum(int(one.get(counter, 0)) for part, one in parts.items() if part.startswith("shard"))


@pytest.mark.stops_the_system
def test_what_did_not_change_is_kept_and_the_rest_begins_empty(system: WholeSystem) -> None:
    system.event("steady", "click", item=3)
    _, offset = system.event("steady", "order", item=5)
    before = system.features_with("steady", offset)["features"]
    assert before["clicks_1h"] == 1
    system.score("steady", show=SHOW)
    learned, weight = system.learn_all(), weight_of(system, "steady")
    assert weight != 0.0
    version = system.version()
    system.score("waiting", show=SHOW)  # is learned from later, in the inputs of before
    assert system.stop(signal.SIGTERM, group=True) == 0, system.log()

    system.rewrite(changed)
    status, printed = system.plan()
    assert status == 0, printed
    for told in ("keep", "add", "drop", "spend", "carts", "clicks", "user_id_x_category_id"):
        assert told in printed, printed

    system.start()
    system.until_filled()
    after = system.features_with("steady", offset)["features"]
    assert lasting(after) == lasting(before)
    assert "clicks_1h" not in after and after["carts_1h"] == 0
    assert "spend_1h" not in after and after["spend_1d"] == 0 < after["spend_7d"]
    assert weight_of(system, "steady") == weight
    assert system.version().epoch == version.epoch + 1
    assert system.learn_all() == learned + SHOW, "what was shown before is learned from"
    assert total(system, "dead_other_layout") == 0
    _, offset = system.event("steady", "cart", item=6)
    assert system.features_with("steady", offset)["features"]["carts_1h"] == 1

    # And back: what was dropped begins empty.
    assert system.stop(signal.SIGTERM, group=True) == 0, system.log()
    system.rewrite(as_before)
    system.start()
    system.until_filled()
    again = system.features_with("steady", offset)["features"]
    assert again["spend_7d"] == before["spend_7d"] and again["clicks_1h"] == 0
    system.score("steady", show=SHOW)
    until(lambda: system.learn_all() == learned + 2 * SHOW)
