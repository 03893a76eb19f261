"""Recommendations in a whole system: from catalogue and events to impressions and labels."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock
from small_catalogue import PIPELINE, START_MS, Click

from freshrank import Newest, Pipeline, SimilarContent, age, position, user_agent
from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Retriever
from freshrank.actors.impressions import decode_impression, served_rows
from freshrank.actors.kernels.hashing import hash_text
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.catalogue_rows import write_items
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry
from freshrank.feature_actors.encoding.input_ids import plain_ids
from freshrank.feature_actors.retrieval.follower import CatalogueFollower
from freshrank.serve.entities.entity_features import entity_features
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.recommendation.recommender import Recommender
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.recommendation.similar import SimilarItems

IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
    "Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
)
NAMES = [f"i{number}" for number in range(12)]


class Shop:
    """A system in lock-step, whose replica follows the catalogue when it is told to."""

    def __init__(self, pipeline: Pipeline = PIPELINE, log: MemoryLog | None = None) -> None:
        self.clock = FakeClock(START_MS)
        self.log = log or MemoryLog(2, others={"catalogue": 3, "clicks.by_item": 3})
        self.world = World(self.log, self.clock)
        self.system = LocalSystem(pipeline, Settings(), self.world)
        self._events = 0

    async def start(self) -> None:
        await self.system.start()
        service = self.system.replica
        retriever = service.retriever
        assert isinstance(retriever, CatalogueFollower)
        self.follower = retriever
        typed: Retriever = retriever
        types = SelectionTypes(service.pipeline, typed)
        self._recommender = Recommender(service, typed, types, Explainer(service))
        self._similar = SimilarItems(service, typed, types)

    def rows(self, names: Sequence[str], **changes: object) -> None:
        rows = [
            msgspec.json.encode({"item": name, "brand": "ab"[number % 2], "price": 1.0, **changes})
            for number, name in enumerate(names)
        ]
        keys = [name.encode() for name in names]
        self.log.distribute("catalogue", keys, rows, np.full(len(keys), self.clock.now_ms()))

    def delete(self, name: str) -> None:
        stamps = np.array([self.clock.now_ms()])
        self.log.distribute("catalogue", [name.encode()], [None], stamps)

    def event(self, who: str, what: str, kind: str = "view") -> None:
        self._events += 1
        click = Click(str(self._events), who, what, kind, self.clock.now_ms())
        self.log.distribute(
            "clicks",
            [who.encode()],
            [msgspec.json.encode(click)],
            np.array([self.clock.now_ms()]),
        )

    async def settle(self) -> None:
        """Let all that was written become visible."""
        await self.system.drain()
        for _ in range(8):
            self.clock.advance(0.3)
            await self.follower.step()

    async def recommend(self, who: str, **request: object) -> Any:
        body = msgspec.json.encode({"user": who, **request})
        answer = await self._recommender.recommend(body)
        await asyncio.sleep(0)  # impressions are logged after the answer
        return answer

    async def next_page(self, text: str) -> Any:
        answer = await self._recommender.next_page(msgspec.json.encode({"next": text}))
        await asyncio.sleep(0)
        return answer

    def similar(self, *items: str) -> list[str]:
        answer = self._similar.similar(msgspec.json.encode({"items": list(items)}))
        return [str(item.id) for item in answer.items]


def ids(answer: Any) -> list[str]:
    return [item.id for item in answer.items]


def test_what_a_user_does_shows_in_the_next_recommendation() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.start()
        shop.rows(NAMES)
        for who in "uvw":
            for what in ("i4", "i5", "i6"):
                shop.event(who, what)
        await shop.settle()
        cold = await shop.recommend("me")
        assert [note.code for note in cold.notes if note.code == "new_entity"] == ["new_entity"]
        assert set(ids(cold)) == set(NAMES)
        shop.event("me", "i4")
        await shop.system.drain()
        # The user's own row is read anew; the follower need not look again.
        warm = await shop.recommend("me")
        assert "i4" not in ids(warm)
        by_id = {item.id: item for item in warm.items}
        (because,) = [one.because for one in by_id["i5"].sources if one.name == "co_visited:users"]
        assert because == ["i4"]
        assert warm.found["co_visited:users"] == 2
        again = await shop.recommend("me", exclude_seen=False, exclude=["i5"])
        assert "i4" in ids(again)
        assert "i5" not in ids(again)
        await shop.system.stop()

    asyncio.run(run())


def test_features_show_texts_while_the_catalogue_has_them() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.start()
        shop.rows(["i1", "i4"])
        shop.event("me", "i4")
        await shop.settle()

        async def recent() -> list[dict[str, Any]]:
            found: Any = (await entity_features(shop.system.replica, "user", "me")).features
            return [*found["recent"]]

        (known,) = await recent()
        assert (known["value"], "hash_of" in known) == ("i4", False)
        of_item: Any = (await entity_features(shop.system.replica, "item", "i4")).features
        (brand,), (who,) = of_item["brand"], of_item["users"]
        assert (brand["value"], who["hash_of"]) == ("b", "user"), "no catalogue lists users"
        shop.delete("i4")
        await shop.settle()
        (unknown,) = await recent()
        assert (unknown["id"], unknown["hash_of"]) == (known["id"], "item")
        await shop.system.stop()

    asyncio.run(run())


def test_an_item_comes_and_goes_within_a_look_at_the_catalogue() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.start()
        shop.rows(NAMES[:3])
        await shop.settle()
        assert set(ids(await shop.recommend("me"))) == set(NAMES[:3])
        shop.rows(["fresh"], brand="c")
        shop.delete("i0")
        await shop.follower.step()
        await shop.follower.step()
        shop.clock.advance(0.3)
        await shop.follower.step()
        assert set(ids(await shop.recommend("me"))) == {"fresh", "i1", "i2"}
        only = await shop.recommend("me", filters={"brand": "c"})
        assert ids(only) == ["fresh"]
        assert only.items[0].fields == {"item": "fresh", "brand": "c", "shelf": None, "price": 1.0}
        await shop.system.stop()

    asyncio.run(run())


def test_what_is_recommended_is_learned_with_its_age_and_its_place() -> None:
    async def run() -> None:
        made: list[DeclaredEntry] = [age(PIPELINE.tables[0].column("shelf"), "s"), position()]
        pipeline = replace(PIPELINE, context=[*PIPELINE.context, *made])
        shop = Shop(pipeline)
        await shop.start()
        shop.rows(NAMES[:4], shelf=START_MS // 1_000 - 3_600)
        await shop.settle()
        pages = [await shop.recommend("me", k=2, pages=3)]
        while pages[-1].next is not None:
            pages.append(await shop.next_page(pages[-1].next))
        assert [len(page.items) for page in pages] == [2, 2]
        records = [
            value
            for partition in range(2)
            for value in shop.log.read(pipeline.impressions_topic, partition, 0, 9).values
        ]
        impressions = [decode_impression(value) for value in records if value is not None]
        dense = pipeline.encoder.layout.dense
        for impression, places in zip(impressions, [[0, 1], [2, 3]], strict=True):
            _, inputs, _ = served_rows(impression, len(dense), pipeline.encoder.layout.id_width)
            numbers = dict(zip(dense, np.expm1(inputs.dense.astype(np.float64)).T, strict=True))
            assert numbers["position"].tolist() == pytest.approx(places)
            expected = 3_600 + (impression.at_ms - START_MS) / 1_000
            assert numbers["shelf_age"].tolist() == pytest.approx([expected] * 2, rel=1e-5)
        await shop.system.stop()

    asyncio.run(run())


def test_what_is_recommended_is_learned_with_the_context_of_its_request() -> None:
    async def run() -> None:
        made: list[DeclaredEntry] = ["kind", *user_agent("kind")]
        pipeline = replace(PIPELINE, context=[*PIPELINE.context, *made])
        shop = Shop(pipeline)
        await shop.start()
        shop.rows(NAMES[:2])
        await shop.settle()
        pages = [await shop.recommend("me", k=1, pages=2, context={"kind": IPHONE})]
        pages.append(await shop.next_page(pages[0].next))
        with pytest.raises(RequestError, match="missing required field"):
            await shop.recommend("me")
        layout = pipeline.encoder.layout
        names = [field.name for field in layout.fields for _ in range(field.width)]
        expected = {
            "kind": hash_text(IPHONE),
            "kind_os": hash_text("iOS"),
            "kind_device": hash_text("iPhone"),
        }
        records = [
            value
            for partition in range(2)
            for value in shop.log.read(pipeline.impressions_topic, partition, 0, 9).values
        ]
        assert len(records) == len(pages) == 2
        for value in records:
            assert value is not None
            _, inputs, _ = served_rows(decode_impression(value), len(layout.dense), len(names))
            ids_of = dict(zip(names, inputs.ids[0].tolist(), strict=True))
            for name, id_ in expected.items():
                assert ids_of[name] == plain_ids(name, np.array([id_]))[0], name
        await shop.system.stop()

    asyncio.run(run())


def test_items_of_a_history_are_recommended_until_their_topic_says_otherwise() -> None:
    async def run() -> None:
        pipeline = replace(PIPELINE, candidates=[Newest(), SimilarContent(tags=["brand"])])
        shop = Shop(pipeline)
        rows = {
            name: msgspec.json.encode({"item": name, "brand": "old"}) for name in ("i1", "i2", "i3")
        }
        table, source = PIPELINE.tables[0], MemorySource(shop.log)
        sink = MemorySink(shop.log, shop.clock, PIPELINE.partitioners)
        await write_items(table, rows, 3, source, sink)
        await shop.start()
        await shop.settle()
        assert set(ids(await shop.recommend("me"))) == {"i1", "i2", "i3"}
        assert set(shop.similar("i1")) == {"i2", "i3"}
        shop.rows(["i2"], brand="new")
        shop.delete("i3")
        await shop.settle()
        shown = {item.id: item.fields["brand"] for item in (await shop.recommend("me")).items}
        assert shown == {"i1": "old", "i2": "new"}
        await shop.system.stop()
        # What the topic says of an item is not undone by the same history.
        await write_items(table, rows, 3, source, sink)
        again = Shop(pipeline, shop.log)
        await again.start()
        await again.settle()
        assert set(ids(await again.recommend("me"))) == {"i1", "i2"}
        await again.system.stop()

    asyncio.run(run())


def test_what_is_recommended_is_logged_and_learned_from() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.start()
        shop.rows(NAMES)
        for who in "uv":
            for what in ("i4", "i5", "i6"):
                shop.event(who, what)
        shop.event("me", "i4")
        await shop.settle()
        answer = await shop.recommend(
            "me",
            k=4,
            diversify={"most_per": {"brand": 2}},
            filters={"item": ["i1", "i2", "i5", "i6"]},
        )
        assert [item.fields["brand"] for item in answer.items].count("a") == 2
        logged = [
            decode_impression(value)
            for partition in range(2)
            for value in shop.log.read("shop.impressions", partition, 0, 10).values
            if value is not None
        ]
        (impression,) = logged
        assert impression.request_id == answer.request_id
        layout = PIPELINE.encoder.layout
        _, served, scores = served_rows(impression, len(layout.dense), layout.id_width)
        assert scores.tolist() == pytest.approx([item.score for item in answer.items])
        place = layout.dense.index("co_visited:users")
        # Both items that the neighbours touched are answered, and nothing else has a weight.
        weights = dict(zip(ids(answer), served.dense[:, place].tolist(), strict=True))
        assert {name for name, weight in weights.items() if weight > 0} == {"i5", "i6"}
        shop.event("me", ids(answer)[2], "order")
        shop.clock.advance(120)
        shop.event("me", "i9")
        shop.clock.advance(120)
        shop.event("other", "i9")
        await shop.system.drain()
        status = await shop.system.status()
        assert status["examples"] == 5, "four that were shown, and a correction"
        (shard,) = shop.system.shards
        assert sum(state.counters.positives for state in shard.states.values()) == 1
        await shop.system.stop()

    asyncio.run(run())


def test_similar_items_are_those_of_the_same_users() -> None:
    async def run() -> None:
        shop = Shop()
        await shop.start()
        shop.rows(NAMES)
        for who, what in (("u", "i1"), ("u", "i2"), ("v", "i1"), ("v", "i2"), ("v", "i3")):
            shop.event(who, what)
        await shop.settle()
        assert shop.similar("i1") == ["i2", "i3"]
        assert shop.similar("i7") == []
        await shop.system.stop()

    asyncio.run(run())


def test_an_item_that_nobody_touched_is_recommended_for_its_words_while_it_is_there() -> None:
    async def run() -> None:
        alike = SimilarContent(words=["brand"])
        shop = Shop(replace(PIPELINE, candidates=[alike, Newest()]))
        await shop.start()
        shop.rows(["tent"], brand="Nordic Camping")
        shop.rows(["shoe", "sock"], brand="Elsewhere")
        shop.event("me", "tent")
        await shop.settle()
        before = await shop.recommend("me")
        assert before.found == {alike.name: 0, "newest": 2}
        shop.rows(["stove"], brand="camping, but NORDIC")
        shop.clock.advance(0.5)
        await shop.follower.step()
        await shop.follower.step()
        found = await shop.recommend("me", sources=[alike.name])
        (item,) = found.items
        assert (item.id, item.fields["brand"]) == ("stove", "camping, but NORDIC")
        assert [(one.name, one.because) for one in item.sources] == [(alike.name, ["tent"])]
        assert shop.similar("stove") == ["tent"]
        assert shop.similar("shoe") == ["sock"]
        shop.delete("stove")
        await shop.follower.step()
        assert ids(await shop.recommend("me", sources=[alike.name])) == []
        assert shop.similar("tent") == []
        await shop.system.stop()

    asyncio.run(run())
