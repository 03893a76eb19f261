"""Views of an entity that some events of a stream do not name, in a whole system."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Joined,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    col,
)
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.serve.entities.entity_features import entity_features

START_MS = 1_700_000_000_000
PARTITIONS = 3


class Login(msgspec.Struct, tag="login"):
    id: str
    user: str
    ts: int


class Look(msgspec.Struct, tag="look"):
    id: str
    user: str
    ts: int
    item: str
    bought: bool = False


user, item = Entity("user", key="user"), Entity("item", key="item")
actions = Stream("actions", id="id", time="ts", key=user, schema=Login | Look)


class Doings(FeatureView):
    entity, source = user, actions
    did = Count(windows=["1h"])


class Popularity(FeatureView):
    entity, source = item, actions
    looked_at = Count(windows=["1h"])


JOINED = Joined(positive=col.bought == 1, on="item", within="1m")
LABELLED = Labelled(positive=col.bought == 1, among=~col.item.is_null())


def pipeline(label: Joined | Labelled) -> Pipeline:
    return Pipeline(
        "site",
        stream=actions,
        features=[Doings, Popularity],
        context=["item"],
        label=label,
        model=LogisticRegression(),
    )


class Site:
    """A system, and people who log in and look at items."""

    def __init__(self, folder: Path, label: Joined | Labelled) -> None:
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(PARTITIONS)
        self.world = World(
            self.log,
            self.clock,
            snapshots=FileSnapshots(folder / "shards"),
            entity_snapshots=lambda name: FileSnapshots(folder / name),
        )
        self._pipeline = pipeline(label)
        self._count = 0
        self.again()

    def again(self) -> None:
        settings = Settings.model_validate({"shards": {"count": 2}})
        self.system = LocalSystem(self._pipeline, settings, self.world)

    def act(self, who: str, what: str | None, *, bought: bool = False) -> None:
        self._count += 1
        id_, at_ms = f"e{self._count}", self.clock.now_ms()
        event: Login | Look = Login(id_, who, at_ms)
        if what is not None:
            event = Look(id_, who, at_ms, what, bought)
        stamps = np.array([at_ms])
        self.log.distribute("actions", [who.encode()], [msgspec.json.encode(event)], stamps)

    async def feature(self, entity: str, key: str, name: str) -> Any:
        return (await entity_features(self.system.replica, entity, key)).features[name]

    async def counted(self, counter: str) -> int:
        statuses = [await shard.status() for shard in self.system.candidate_shards]
        return sum(cast(int, status.get(counter, 0)) for status in statuses)


@pytest.mark.parametrize("label", [JOINED, LABELLED], ids=["joined", "labelled"])
def test_events_without_an_item_change_the_user_and_no_item(
    tmp_path: Path, label: Joined | Labelled
) -> None:
    async def test() -> None:
        site = Site(tmp_path, label)
        await site.system.start()
        looks = ["tent", None, "tent", None, None, "stove", "", "x" * 257]
        for number, what in enumerate(looks):
            site.act(f"u{number % 3}", what)
        await site.system.drain()
        assert sum([await site.feature("user", f"u{one}", "did_1h") for one in range(3)]) == 8
        assert await site.feature("item", "tent", "looked_at_1h") == 2
        assert await site.feature("item", "stove", "looked_at_1h") == 1
        items = [key for key in site.world.store.rows if b"item:" in key]
        assert len(items) == 2, "there is no row of no item"
        assert await site.counted("without_part") == 4, "three logins, and an empty text"
        assert await site.counted("part_too_long") == 1
        assert (await site.counted("events"), await site.counted("dead")) == (3, 0)
        if isinstance(label, Labelled):
            site.act("u1", "tent", bought=True)
            await site.system.drain()
            layout = pipeline(label).encoder.layout
            assert "looked_at_1h" in layout.dense
            assert (await site.system.status())["examples"] == 6
        await site.system.stop()
        site.again()
        await site.system.start()
        site.act("u0", "stove")
        await site.system.drain()
        assert await site.feature("item", "stove", "looked_at_1h") == 2
        await site.system.stop()

    asyncio.run(test())
