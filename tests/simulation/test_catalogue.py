"""A catalogue of items: a table that candidates take fields from, in a whole system."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Adagrad,
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Table,
    col,
)
from freshrank.actors.errors import RequestError
from freshrank.actors.impressions import decode_impression, served_rows
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.api.responses import CandidateRows, ScoreAnswer
from freshrank.serve.entities.entity_features import entity_features
from freshrank.serve.explanation.explainer import Explainer

START_MS = 1_700_000_000_000
PARTITIONS, ITEM_PARTITIONS = 3, 2


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    category: str
    ts: int


class Product(msgspec.Struct):
    item: int
    category: str
    price: float | None = None


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Taste(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["1h"])
    taste = DecayedCount(by="category", half_life="1h", top=3)


PIPELINE = Pipeline(
    "shop",
    stream=clicks,
    features=[Taste],
    tables=[catalogue],
    context=["item", catalogue.category, catalogue.price],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
    optimizer=Adagrad(),
)


class Popularity(FeatureView):
    entity, source = item, clicks
    viewed = Count(where=col.kind == "view", windows=["1h"])
    liked_in = DecayedCount(by="category", half_life="1h", top=2)


POPULAR = replace(
    PIPELINE, features=[Taste, Popularity], context=["item", "category", catalogue.price]
)


((catalogue_plan,),) = (plan.latest for plan in PIPELINE.candidate_plans)


class Shop:
    """A system whose topics of users and of items have different numbers of partitions."""

    def __init__(self, pipeline: Pipeline = PIPELINE) -> None:
        self.clock = FakeClock(START_MS)
        topics = ("catalogue", "catalogue.dead", "clicks.by_item")
        others = dict.fromkeys(topics, ITEM_PARTITIONS)
        self.world = World(MemoryLog(PARTITIONS, others=others), self.clock)
        self.system = self.again(pipeline)
        self._clicks = 0

    def again(self, pipeline: Pipeline = PIPELINE) -> LocalSystem:
        settings = Settings.model_validate({"shards": {"count": 2}})
        self.system = LocalSystem(pipeline, settings, self.world)
        return self.system

    def products(self, rows: Mapping[int, bytes | None]) -> None:
        keys = [str(number).encode() for number in rows]
        stamps_ms = np.full(len(keys), self.clock.now_ms())
        self.world.log.distribute("catalogue", keys, list(rows.values()), stamps_ms)

    def click(self, who: str, number: int, category: str, kind: str = "view") -> None:
        self._clicks += 1
        at_ms = self.clock.now_ms()
        event = Click(f"e{self._clicks}", who, number, kind, category, at_ms)
        value = msgspec.json.encode(event)
        self.world.log.distribute("clicks", [who.encode()], [value], np.array([at_ms]))

    async def shown(self, pipeline: Pipeline = PIPELINE) -> dict[int, dict[str, float]]:
        """By item: the numeric inputs of the last impression that has it."""
        await asyncio.sleep(0)
        layout, found = pipeline.encoder.layout, dict[int, dict[str, float]]()
        for partition in range(PARTITIONS):
            for value in self.world.log.read(PIPELINE.impressions_topic, partition, 0, 99).values:
                assert value is not None
                impression = decode_impression(value)
                keys, inputs, _ = served_rows(impression, len(layout.dense), layout.id_width)
                for key, row in zip(keys.tolist(), inputs.dense.tolist(), strict=True):
                    found[key] = dict(zip(layout.dense, row, strict=True))
        return found

    async def score(self, who: str, items: Sequence[int]) -> ScoreAnswer:
        candidates = [{"item": number} for number in items]
        return await self.system.score({"user": who, "candidates": candidates})


def product(number: int, category: str, price: float | None = None) -> bytes:
    return msgspec.json.encode(Product(number, category, price))


def rows_of(answer: ScoreAnswer) -> CandidateRows:
    assert answer.candidate_rows
    return answer.candidate_rows["catalogue"]


def test_a_request_needs_the_item_only() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0), 2: product(2, "hats"), 3: product(3, "hats")})
        shop.click("ann", 3, "shoes")
        await shop.system.drain()
        answer = await shop.score("ann", [1, 2, 9])
        assert rows_of(answer) == CandidateRows("online", [2], 0)
        shown = await shop.shown()
        prices = [round(float(np.expm1(shown[number]["price"])), 3) for number in (1, 2, 9)]
        assert prices == [20, 0, 0]
        matches = [shown[number]["taste_match"] for number in (1, 2, 9)]
        assert matches[0] > 0.5 and matches[1:] == [0, 0], "the category is that of the catalogue"
        await shop.system.stop()

    asyncio.run(test())


def test_an_explanation_names_what_candidates_take_from_their_rows() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0), 2: product(2, "hats")})
        shop.click("ann", 3, "shoes")
        await shop.system.drain()
        await shop.score("ann", [1, 2])
        shop.click("ann", 1, "shoes", "order")
        await shop.system.drain()
        scored = await shop.score("ann", [1, 2, 9])
        body = {"user": "ann", "candidates": [{"item": number} for number in (1, 2, 9)]}
        explainer = Explainer(shop.system.replica)
        answer = await explainer.explain(msgspec.json.encode(body))
        assert answer.model.version == scored.model.version
        assert answer.candidate_rows == scored.candidate_rows
        values = []
        for one, score in zip(answer.candidates, scored.scores, strict=True):
            assert one is not None
            assert one.score == pytest.approx(score, abs=1e-3), "a moment later"
            added = one.base + sum(each.contribution for each in one.contributions)
            assert added == pytest.approx(one.logit, abs=1e-4)
            values.append({each.input: each.value for each in one.contributions})
        assert [one["price"] for one in values] == [20.0, None, None]
        assert [len(one["category"]) for one in values] == [1, 1, 0]
        assert [one["taste_match"] > 0.5 for one in values] == [True, False, False]
        await shop.system.stop()

    asyncio.run(test())


def test_a_row_is_replaced_and_a_tombstone_deletes_it() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0), 2: product(2, "hats", 5.0)})
        await shop.system.drain()
        assert rows_of(await shop.score("ann", [1, 2])).missing == []
        shop.products({1: product(1, "shoes", 30.0), 2: None})
        await shop.system.drain()
        shop.clock.advance(0.2)
        assert rows_of(await shop.score("ann", [1, 2])).missing == [1]
        assert shop.world.store.rows.keys() == {catalogue_plan.row_key("1")}
        features = (await entity_features(shop.system.replica, "item", "1")).features
        assert features["price"] == 30.0
        await shop.system.stop()

    asyncio.run(test())


def test_what_was_served_is_learned_from() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0)})
        await shop.system.drain()
        await shop.score("ann", [1])
        shop.products({1: product(1, "shoes", 99.0)})
        shop.clock.advance(1.0)
        shop.click("ann", 1, "shoes", "order")
        await shop.system.drain()
        status = await shop.system.status()
        assert status["examples"] == 2, "shown, and corrected"
        await shop.system.stop()

    asyncio.run(test())


@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_goes_on_from_its_snapshot(crash: bool) -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({number: product(number, "hats", 1.0 * number) for number in range(1, 30)})
        await shop.system.drain()
        if not crash:
            await shop.system.stop()
        before = dict(shop.world.store.rows)
        shop.products({1: product(1, "hats", 50.0), 2: None, 7: None})
        system = shop.again()
        await system.start()
        await system.drain()
        gone = {catalogue_plan.row_key("2"), catalogue_plan.row_key("7")}
        assert shop.world.store.rows.keys() == before.keys() - gone
        features = (await entity_features(system.replica, "item", "1")).features
        assert features["price"] == 50.0
        await system.stop()

    asyncio.run(test())


def test_records_that_cannot_be_used_are_counted_and_the_rows_before_them_stay() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0)})
        await shop.system.drain()
        shop.products({1: b'{"item": 1, "category": 7}', 3: product(4, "hats"), 8: None})
        log, at_ms = shop.world.log, shop.clock.now_ms()
        log.append("catalogue", 0, product(5, "hats"), at_ms)
        log.append("catalogue", 0, None, at_ms)
        log.append("catalogue", 0, product(5, "hats"), at_ms, b"x5")
        log.append("catalogue", 0, product(6, "hats"), at_ms, b"6")
        log.append("catalogue", 1, product(6, "hats"), at_ms, b"6")
        await shop.system.drain()
        reasons = sorted(record.reason for _, record in shop.system.sink.rejected)
        assert [reason[:40] for reason in reasons] == [
            "'6' belongs to partition 0 by murmur2, a",
            "Expected `str`, got `int` - at `$.catego",
            "it has no key: its key is the entity's i",
            "it has no key: its key is the entity's i",
            "its key is '3', and its item is '4'",
            "its key: 'x5' is no integer: write 7 as ",
        ]
        assert all("any" not in reason for reason in reasons)
        statuses = [await shard.status() for shard in shop.system.candidate_shards]

        def total(counter: str) -> int:
            return sum(cast(int, status[counter]) for status in statuses)

        assert total("dead_table_rows") == total("dead") == 6
        assert total("dead_no_key") == 2
        assert total("dead_misplaced") == 1
        assert total("tombstones_unknown") == 1
        assert total("table_rows") == 2
        assert (await entity_features(shop.system.replica, "item", "1")).features["price"] == 20.0
        await shop.system.stop()

    asyncio.run(test())


def test_the_features_of_an_item_are_its_row() -> None:
    async def test() -> None:
        shop = Shop()
        await shop.system.start()
        shop.products({1: product(1, "shoes")})
        await shop.system.drain()
        answer = await entity_features(shop.system.replica, "item", "1")
        assert (answer.source, answer.event_time_ms, answer.offset) == ("online", START_MS, 0)
        (category,) = answer.features["category"]
        assert category["hash_of"] == "category"
        assert answer.features["price"] is None
        unknown = await entity_features(shop.system.replica, "item", "2")
        assert (unknown.source, unknown.features) == ("new", {"category": [], "price": None})
        with pytest.raises(RequestError, match="no integer"):
            await entity_features(shop.system.replica, "item", "07")
        await shop.system.stop()

    asyncio.run(test())


def test_a_view_of_items_is_read_with_the_candidates_and_logged() -> None:
    async def test() -> None:
        shop = Shop(POPULAR)
        await shop.system.start()
        shop.products({1: product(1, "shoes", 20.0)})
        for who in ("ann", "bob", "cat", "dan"):
            shop.click(who, 1, "shoes")
        shop.click("ann", 2, "hats")
        await shop.system.drain()
        candidates = [{"item": number, "category": "shoes"} for number in (1, 2, 3)]
        answer = await shop.system.score({"user": "ann", "candidates": candidates})
        assert answer.candidate_rows == {
            "clicks.by_item": CandidateRows("online", [2], 0),
            "catalogue": CandidateRows("online", [1, 2], 0),
        }
        shown = await shop.shown(POPULAR)
        viewed = [round(float(np.expm1(shown[number]["viewed_1h"]))) for number in (1, 2, 3)]
        assert viewed == [4, 1, 0]
        assert shown[1]["liked_in_match"] > shown[2]["liked_in_match"] == 0.0
        features = (await entity_features(shop.system.replica, "item", "1")).features
        assert (features["viewed_1h"], features["price"]) == (4.0, 20.0)
        await shop.system.stop()

    asyncio.run(test())


def test_events_that_no_view_can_use_are_rejected_once() -> None:
    async def test() -> None:
        shop = Shop(POPULAR)
        await shop.system.start()
        shop.world.log.append("clicks", 0, b"{broken", shop.clock.now_ms())
        await shop.system.drain()
        assert [topic for topic, _ in shop.system.sink.rejected] == ["clicks.dead"]
        await shop.system.stop()

    asyncio.run(test())
