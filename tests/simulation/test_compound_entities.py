"""Features of compound entities, such as user x category, in a whole system."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    Table,
    col,
)
from freshrank.actors.errors import ConfigError, RequestError
from freshrank.actors.impressions import decode_impression, served_rows
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.api.responses import CandidateRows, ScoreAnswer
from freshrank.serve.entities.entity_features import entity_features
from freshrank.serve.entities.entity_forgetter import EntityForgetter

START_MS = 1_700_000_000_000
PARTITIONS, ITEM_PARTITIONS = 3, 2
OWNED, COPIED = "user_category/clicks", "clicks.by_city_category"
KEPT_FILES = 3


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    category: str | None
    city: int
    ts: int


class Product(msgspec.Struct):
    item: int
    category: str | None = None


user, item = Entity("user", key="user"), Entity("item", key="item")
user_category = Entity("user_category", key=["user", "category"])
city_category = Entity("city_category", key=["city", "category"])
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Taste(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["1h"])


class Affinity(FeatureView):
    entity, source = user_category, clicks
    viewed_there = Count(where=col.kind == "view", windows=["1h"])
    liked_there = DecayedCount(by="item", half_life="1h", top=2)


class Local(FeatureView):
    entity, source = city_category, clicks
    viewed_here = Count(where=col.kind == "view", windows=["1h"])
    cities = Sum("city", windows=["1h"])


PIPELINE = Pipeline(
    "shop",
    stream=clicks,
    features=[Taste, Affinity, Local],
    tables=[catalogue],
    context=["item", "city", catalogue.category],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
)
OWN_FIELD = replace(
    PIPELINE, tables=[], features=[Taste, Affinity], context=["item", "category"], name="plain"
)


class Shop:
    """A system whose state lies in files."""

    def __init__(self, folder: Path, pipeline: Pipeline = PIPELINE) -> None:
        self.clock, self.folder, self.pipeline = FakeClock(START_MS), folder, pipeline
        topics = ("catalogue", "catalogue.dead")
        others = dict.fromkeys(topics, ITEM_PARTITIONS)
        snapshots, learned = FileSnapshots(folder / "shards"), FileSnapshots(folder / "learner")
        self.world = World(
            MemoryLog(PARTITIONS, others=others),
            self.clock,
            snapshots=snapshots,
            checkpoints=learned,
            entity_snapshots=lambda name: FileSnapshots(folder / name),
        )
        self.system = self.again()
        self._clicks = 0

    def again(self) -> LocalSystem:
        settings = Settings.model_validate({"shards": {"count": 2}})
        self.system = LocalSystem(self.pipeline, settings, self.world)
        return self.system

    def products(self, rows: Mapping[int, str | None]) -> None:
        keys = [str(number).encode() for number in rows]
        values = [msgspec.json.encode(Product(number, of)) for number, of in rows.items()]
        stamps_ms = np.full(len(keys), self.clock.now_ms())
        self.world.log.distribute("catalogue", keys, values, stamps_ms)

    def click(
        self, who: str, number: int, category: str | None, kind: str = "view", city: int = 7
    ) -> None:
        self._clicks += 1
        at_ms = self.clock.now_ms()
        event = Click(f"e{self._clicks}", who, number, kind, category, city, at_ms)
        self._write(who, msgspec.json.encode(event))

    def forget(self, who: str) -> None:
        self._write(who, None)

    def _write(self, who: str, value: bytes | None) -> None:
        stamps_ms = np.array([self.clock.now_ms()])
        self.world.log.distribute("clicks", [who.encode()], [value], stamps_ms)

    async def score(self, who: str, *items: int) -> ScoreAnswer:
        candidates = [{"item": number, "city": 7} for number in items]
        return await self.system.score({"user": who, "candidates": candidates})

    async def shown(self) -> dict[int, dict[str, float]]:
        """By item: the numeric inputs of the last impression that has it."""
        await asyncio.sleep(0)
        layout, found = self.pipeline.encoder.layout, dict[int, dict[str, float]]()
        for partition in range(PARTITIONS):
            topic = self.pipeline.impressions_topic
            for value in self.world.log.read(topic, partition, 0, 99).values:
                assert value is not None
                impression = decode_impression(value)
                keys, inputs, _ = served_rows(impression, len(layout.dense), layout.id_width)
                for key, row in zip(keys.tolist(), inputs.dense.tolist(), strict=True):
                    found[key] = dict(zip(layout.dense, row, strict=True))
        return found

    async def features(self, entity: str, key: str) -> Mapping[str, JsonValue]:
        return (await entity_features(self.system.replica, entity, key)).features

    def in_files(self, text: str) -> list[Path]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path for path in files if text.encode() in path.read_bytes()]

    def in_store(self, who: str) -> list[bytes]:
        """The keys of rows that have the text of a user, or its id."""
        forms = who.encode(), f"{hash_text(who) % 2**64:016x}".encode()
        return [key for key in self.world.store.rows if any(form in key for form in forms)]

    async def counted(self, counter: str) -> int:
        statuses = [await shard.status() for shard in self.system.candidate_shards]
        return sum(cast(int, status.get(counter, 0)) for status in statuses)


def times(shown: Mapping[int, Mapping[str, float]], name: str, *items: int) -> list[int]:
    return [round(float(np.expm1(shown[number][name]))) for number in items]


def test_a_candidate_gets_the_row_of_its_user_and_category(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.products({1: "shoes", 2: "hats", 3: "shoes", 4: None})
        for _ in range(3):
            shop.click("ann", 1, "shoes")
        shop.click("ann", 2, "hats")
        shop.click("bob", 1, "shoes")
        shop.click("bob", 1, "shoes", city=8)
        await shop.system.drain()
        answer = await shop.score("ann", 1, 2, 3, 4, 9)
        assert answer.candidate_rows == {
            "catalogue": CandidateRows("online", [4], 0),
            COPIED: CandidateRows("online", [3, 4], 0),
            OWNED: CandidateRows("online", [3, 4], 0),
        }
        shown = await shop.shown()
        assert times(shown, "viewed_there_1h", 1, 2, 3, 4, 9) == [3, 1, 3, 0, 0]
        assert times(shown, "viewed_here_1h", 1, 2, 3, 4, 9) == [4, 1, 4, 0, 0]
        assert shown[1]["liked_there_match"] > shown[3]["liked_there_match"] == 0.0
        counted = shop.system.replica.metrics.expose().decode()
        assert f'candidate_rows_total{{outcome="unkeyed",table="{OWNED}"}} 2.0' in counted
        await shop.system.stop()

    asyncio.run(test())


def test_what_a_candidate_carries_itself_can_be_a_part(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path, OWN_FIELD)
        await shop.system.start()
        shop.click("ann", 1, "shoes")
        shop.click("ann", 1, "shoes")
        await shop.system.drain()
        given = zip((1, 2, 3), ("shoes", "hats", None), strict=True)
        candidates = [{"item": number, "category": of} for number, of in given]
        answer = await shop.system.score({"user": "ann", "candidates": candidates})
        assert answer.candidate_rows == {OWNED: CandidateRows("online", [1, 2], 0)}
        assert times(await shop.shown(), "viewed_there_1h", 1, 2, 3) == [2, 0, 0]
        await shop.system.stop()

    asyncio.run(test())


def test_what_was_served_is_learned_from(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.products({1: "shoes"})
        shop.click("ann", 1, "shoes")
        await shop.system.drain()
        await shop.score("ann", 1)
        for _ in range(4):
            shop.click("ann", 1, "shoes", "order")
            shop.click("ann", 1, "shoes")
        await shop.system.drain()
        assert times(await shop.shown(), "viewed_there_1h", 1) == [1], "as it was served"
        assert (await shop.system.status())["examples"] == 2, "shown, and corrected"
        await shop.system.stop()

    asyncio.run(test())


def test_the_features_of_a_pair_are_asked_for_by_its_text(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.click("a:b", 1, "c")
        shop.click("a", 1, "b:c")
        shop.click("a", 1, "b:c")
        shop.click("~1", 1, "c~", city=-5)
        await shop.system.drain()
        assert (await shop.features("user_category", "a~1b:c"))["viewed_there_1h"] == 1
        assert (await shop.features("user_category", "a:b~1c"))["viewed_there_1h"] == 2
        assert (await shop.features("user_category", "~01:c~0"))["viewed_there_1h"] == 1
        assert (await shop.features("city_category", "-5:c~0"))["viewed_here_1h"] == 1
        unknown = await entity_features(shop.system.replica, "user_category", "a:c")
        assert (unknown.source, unknown.features["viewed_there_1h"]) == ("new", 0)
        for wrong in ("a", "a:b:c", "a~2:b", "a:", ":b", "x" * 257 + ":b", "a~:b"):
            with pytest.raises(RequestError):
                await shop.features("user_category", wrong)
        with pytest.raises(RequestError, match="city: '07' is no integer"):
            await shop.features("city_category", "07:c")
        with pytest.raises(RequestError, match="no entity 'user_category'"):
            forgetter = EntityForgetter(
                shop.system.replica.pipeline, shop.system.sink, shop.system.replica.reader
            )
            await forgetter.forget("user_category", "a:b")
        await shop.system.stop()

    asyncio.run(test())


def test_events_without_a_part_change_no_row_and_are_counted(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.click("ann", 1, None)
        shop.click("ann", 1, "")
        shop.click("ann", 1, "x" * 257)
        shop.click("ann", 1, "x" * 256)
        await shop.system.drain()
        compound = [key for key in shop.world.store.rows if b"_category:" in key]
        assert len(compound) == 2, "of the user and of the city, with the longest category"
        assert (await shop.features("user", "ann"))["seen_1h"] == 4
        assert await shop.counted("without_part") == 4
        assert await shop.counted("part_too_long") == 2
        assert await shop.counted("events") == 2
        assert await shop.counted("dead") == 0
        await shop.system.stop()

    asyncio.run(test())


def test_an_alert_is_in_the_status_of_the_shard_that_it_is_of_and_in_no_other(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        keys, stamps_ms = [b"%d" % one for one in range(80)], np.full(80, shop.clock.now_ms())
        shop.world.log.distribute("catalogue", keys, [b"{broken"] * 80, stamps_ms)
        shop.click("ann", 1, "hats")
        for _ in range(3):
            await shop.system.drain()
            for shard in shop.system.candidate_shards:
                await shard.step()
            shop.clock.ms += 2_000
        of_items = others = 0
        for shard in shop.system.candidate_shards:
            status = await shard.status()
            alerts = cast(dict[str, Any], status["alerts"])
            if status["dead"]:
                of_items += 1
                assert alerts["by_kind"] == {"rejected": 1}
                assert [one["part"][:12] for one in alerts["newest"]] == ["entity-item-"]
            else:
                others += 1
                assert alerts["by_kind"] == {}
        assert of_items and others
        await shop.system.stop()

    asyncio.run(test())


@pytest.mark.parametrize("crash", [False, True])
def test_a_restart_goes_on_from_its_snapshot(crash: bool, tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.click("ann", 1, "shoes")
        await shop.system.drain()
        if not crash:
            await shop.system.stop()
        shop.click("ann", 1, "shoes")
        shop.click("bob", 1, "shoes")
        await shop.again().start()
        await shop.system.drain()
        assert (await shop.features("user_category", "ann:shoes"))["viewed_there_1h"] == 2
        assert (await shop.features("city_category", "7:shoes"))["viewed_here_1h"] == 3
        shop.forget("ann")
        await shop.system.drain()
        assert (await shop.features("user_category", "ann:shoes"))["viewed_there_1h"] == 0
        assert (await shop.features("user_category", "bob:shoes"))["viewed_there_1h"] == 1
        await shop.system.stop()

    asyncio.run(test())


def test_who_is_forgotten_is_in_no_row_and_in_no_file_of_any_entity(tmp_path: Path) -> None:
    gone, stays = "ada-who-wants-to-be-forgotten", "bob-who-stays"

    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        for category in ("shoes", "hats", "a:b"):
            shop.click(gone, 1, category)
            shop.click(stays, 1, category)
        await shop.system.drain()
        await shop.system.stop()
        assert {path.parent.name for path in shop.in_files(gone)} == {"shards", "user_category"}
        assert len(shop.in_store(gone)) == len(shop.in_store(stays)) == 4

        await shop.again().start()
        replica = shop.system.replica
        forgetter = EntityForgetter(replica.pipeline, shop.system.sink, replica.reader)
        replica.start()
        await forgetter.forget("user", gone)
        await shop.system.drain()
        assert shop.in_store(gone) == []
        assert len(shop.in_store(stays)) == 4
        assert await shop.counted("forgotten") == 1
        await shop.system.stop()

        for _ in range(KEPT_FILES):  # of each kind the newest three stay
            await shop.again().start()
            shop.click(stays, 1, "shoes")
            await shop.system.drain()
            await shop.system.stop()
        assert shop.in_files(gone) == []
        assert {path.parent.name for path in shop.in_files(stays)} == {"shards", "user_category"}

        await shop.again().start()
        shop.click(gone, 1, "shoes")
        await shop.system.drain()
        back = await shop.features("user_category", f"{gone}:shoes")
        assert back["viewed_there_1h"] == 1, "who comes back is new"
        await shop.system.stop()

    asyncio.run(test())


def test_a_tombstone_of_who_has_no_pair_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        shop = Shop(tmp_path)
        await shop.system.start()
        shop.click("ann", 1, "shoes")
        shop.forget("nobody")
        await shop.system.drain()
        assert await shop.counted("forgotten_unknown") == 1
        assert await shop.counted("forgotten") == 0
        assert (await shop.features("user_category", "ann:shoes"))["viewed_there_1h"] == 1
        await shop.system.stop()

    asyncio.run(test())


class Other(FeatureView):
    entity, source = Entity("user_kind", key=["user", "kind"]), clicks
    done = Count(windows=["1h"])


class Numbered(msgspec.Struct):
    item: int
    category: int


def test_each_part_has_to_be_known_of_a_candidate_and_of_one_type() -> None:
    with pytest.raises(ConfigError, match="its part 'kind' is not in the context"):
        replace(PIPELINE, features=[Taste, Affinity, Other])
    with pytest.raises(ConfigError, match="its part 'category' is not in the context"):
        replace(PIPELINE, tables=[], context=["item", "city"])
    table = Table("numbered", key=item, schema=Numbered)
    with pytest.raises(ConfigError, match="its part 'category' is str in 'clicks', and int in"):
        replace(PIPELINE, tables=[table], context=["item", "city", table.category])


def test_a_compound_entity_keys_no_stream_and_no_table() -> None:
    with pytest.raises(ConfigError, match="the key of a record is one text"):
        Stream("clicks", id="id", time="ts", key=user_category, schema=Click)
    with pytest.raises(ConfigError, match="the key of a record is one text"):
        Table("rows", key=user_category, schema=Click)
    for wrong in (["user", "user"], [], ["user", ""]):
        with pytest.raises(ConfigError, match="Name different fields"):
            Entity("pair", key=wrong)
