"""A system that goes on from a backfilled state is where one is that has read all of its topics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock
from history_shop import COMPOUND, PIPELINE, START_MS, Click, Clicking, Product, Visit, Visiting

from freshrank import Count, FeatureView, Labelled, LogisticRegression, Pipeline, col
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import HistoryTally
from freshrank.deploy.history.reader import HistoryReader
from freshrank.deploy.state.folders import ENTITIES, LEARNER, SHARDS
from freshrank.deploy.wiring.backfill import Backfill, Target
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.shard.shard import Shard
from freshrank.feature_actors.streams.formats import BoundFormat, Json
from freshrank.feature_actors.streams.times.time_field import TimeField

PARTITIONS, ITEM_PARTITIONS = 3, 2
# One shard: copies for items are in the order of their stamps as far as one shard makes them.
SETTINGS = Settings.model_validate({"shards": {"count": 1}, "learner": {"batch_examples": 32}})
LABELLED = replace(
    PIPELINE,
    features=[Clicking, Visiting],
    tables=[],
    context=["item"],
    label=Labelled(positive=col.kind == "order"),
)

Record = tuple[bytes, bytes | None, int, str]


def some_records(count: int) -> list[Record]:
    generator, records = np.random.default_rng(3), list[Record]()
    for number in range(count):
        at_ms = START_MS + 500 * number
        who, what = f"u{generator.integers(9)}", int(generator.integers(1, 5))
        late_ms = int(generator.choice([0, 0, 4_000]))
        kind = str(generator.choice(["view", "order"]))
        click = Click(f"e{number}", who, what, kind, at_ms - late_ms)
        records.append((who.encode(), msgspec.json.encode(click), at_ms, "clicks"))
        visit = Visit(number, who, 1.0, at_ms)
        records.append((who.encode(), msgspec.json.encode(visit), at_ms, "visits"))
        if number % 7 == 0:
            row = msgspec.json.encode(Product(what, "b", float(number)))
            records.append((str(what).encode(), row, at_ms, "catalogue"))
    return records


def topics_of(pipeline: Pipeline) -> set[str]:
    return {*(one.topic for one in pipeline.streams), *(one.topic for one in pipeline.tables)}


class Topics:
    """A log with all records: of each partition, those before a time come first."""

    def __init__(self, records: Sequence[Record], until_ms: int, pipeline: Pipeline) -> None:
        of_items = ("catalogue", "catalogue.dead", "clicks.by_item", "clicks.by_item_kind")
        others = dict.fromkeys(of_items, ITEM_PARTITIONS)
        self.log = MemoryLog(PARTITIONS, others=others)
        self.before: dict[str, list[int]] = {}
        known = topics_of(pipeline)
        for key, value, at_ms, topic in records:
            if topic not in known:
                continue
            count = self.log.partitions_of(topic)
            begins = self.before.setdefault(topic, [0] * count)
            partition = partition_of(key, count)
            self.log.append(topic, partition, value, at_ms, key)
            begins[partition] += at_ms < until_ms

    @property
    def offsets(self) -> dict[str, list[int]]:
        return {**{topic: [0] * len(ends) for topic, ends in self.ends.items()}, **self.before}

    @property
    def ends(self) -> dict[str, list[int]]:
        topics = ["clicks", "visits", "catalogue", "clicks.by_item", "shop.impressions"]
        topics.append("clicks.by_item_kind")
        counts = {topic: self.log.partitions_of(topic) for topic in topics}
        return {
            topic: [self.log.end(topic, partition) for partition in range(count)]
            for topic, count in counts.items()
        }


def filled(pipeline: Pipeline, history: Sequence[Record], topics: Topics, folder: Path) -> Backfill:
    partitions = {"user": PARTITIONS, "item": ITEM_PARTITIONS}
    partitions |= {"user_item": PARTITIONS, "item_kind": ITEM_PARTITIONS}
    made = Backfill(pipeline, SETTINGS, Target(partitions))
    reader = HistoryReader(pipeline, [history])
    for arrivals in reader.arrivals(list(pipeline.plans), HistoryTally(), made.numbered):
        made.take(arrivals)
    made.move_to(topics.offsets, topics.ends, START_MS)
    made.save(folder, topics.offsets)
    return made


async def read_to_the_end(
    pipeline: Pipeline, topics: Topics, folder: Path, at_ms: int
) -> tuple[dict[str, Any], Mapping[str, Any], LocalSystem]:
    """What serving reads of all entities then, the learner's status, and the system."""
    world = World(
        topics.log,
        FakeClock(at_ms),
        snapshots=FileSnapshots(folder / SHARDS),
        checkpoints=FileSnapshots(folder / LEARNER),
        entity_snapshots=lambda name: FileSnapshots(folder / ENTITIES / name),
    )
    system = LocalSystem(pipeline, SETTINGS, world)
    await system.start()
    await system.drain()
    features, found = pipeline.online_features, dict[str, Any]()
    keys = {"user": [f"u{number}" for number in range(9)], "item": ["1", "2", "3", "4"]}
    keys["user_item"] = [f"{who}:{what}" for who in keys["user"] for what in keys["item"]]
    keys["item_kind"] = [f"{what}:{kind}" for what in keys["item"] for kind in ("view", "order")]
    for entity in features.entities:
        for key in keys[entity]:
            rows = [world.store.rows.get(one) for one in features.keys(entity, key)]
            assert any(row is not None for row in rows)
            found[f"{entity} {key}"] = dict(features.describe(entity, rows, at_ms))
    return found, await system.status(), system


def taken(shards: Sequence[Shard]) -> int:
    """Events that were applied, or too late."""
    states = [state for shard in shards for state in shard.states.values()]
    return sum(state.counters.events + state.counters.late for state in states)


@pytest.mark.parametrize(
    "pipeline",
    [PIPELINE, LABELLED, COMPOUND],
    ids=["joined, with items", "labelled", "with compound entities"],
)
def test_it_goes_on_where_the_history_ends(pipeline: Pipeline, tmp_path: Path) -> None:
    records = some_records(400)
    until_ms = START_MS + 500 * 250
    end_ms = records[-1][2]

    async def test() -> None:
        # Ten records more than the topics are read from: their ids tell that they are known.
        topics = topics_of(pipeline)
        history = [one for one in records if one[2] < until_ms + 5_000 and one[3] in topics]
        before = Topics(records, until_ms, pipeline)
        made = filled(pipeline, history, before, tmp_path / "filled")
        learned = made.learned
        there, anew = (Topics(records, until_ms, pipeline) for _ in range(2))
        got, status, system = await read_to_the_end(pipeline, there, tmp_path / "filled", end_ms)
        wanted, all_status, _ = await read_to_the_end(pipeline, anew, tmp_path / "whole", end_ms)
        assert got == wanted
        assert status["examples"] == all_status["examples"]
        assert (learned > 0) == (pipeline is LABELLED)
        # Each event counts once, and of an item too.
        assert taken(system.shards) == 800
        assert taken(system.candidate_shards) == 400 * len(pipeline.candidate_plans)
        await system.stop()

    asyncio.run(test())


class Counted(Json):
    """JSON that counts how many records are decoded."""

    decoded = 0

    def bind_events(
        self, event_type: type[msgspec.Struct], time: TimeField | None, place: str
    ) -> BoundFormat:
        """See `Json`."""
        bound = super().bind_events(event_type, time, place)

        def decode(value: bytes, /) -> msgspec.Struct:
            Counted.decoded += 1
            return plain(value)

        plain, found = bound.decode, cast(Any, bound)
        found.decode = decode
        return bound


def test_each_event_of_a_history_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clicks = replace(PIPELINE.stream, format=Counted())

    class Clicked(FeatureView):
        entity, source = clicks.key, clicks
        happened = Count(windows=["1h"])

    label = Labelled(positive=col.kind == "order")
    pipeline = Pipeline(
        "counted",
        stream=clicks,
        features=[Clicked],
        context=["item"],
        label=label,
        model=LogisticRegression(),
    )
    history = [one for one in some_records(100) if one[3] == "clicks"]
    made = Backfill(pipeline, SETTINGS, Target({"user": PARTITIONS}))
    monkeypatch.setattr(Counted, "decoded", 0)
    for arrivals in HistoryReader(pipeline, [history]).arrivals(
        list(pipeline.plans), HistoryTally(), made.numbered
    ):
        made.take(arrivals)
    assert Counted.decoded == len(history) == 100
    assert made.entities == 9
