"""A training set has what was served, each item with the label that the learner learned."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from shop_log import OneTopicFirst, ShopLog
from small_catalogue import PIPELINE, Recent

from freshrank import (
    Arm,
    EpsilonGreedy,
    Experiment,
    Imputed,
    Joined,
    Labelled,
    LogisticRegression,
    Pipeline,
    col,
    get_training_set,
)
from freshrank.actors.errors import ConfigError
from freshrank.actors.impressions import ExploredItems
from freshrank.actors.kernels.hashing import hash_text
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.served import partition_join, served_items, topics
from freshrank.deploy.served.topics import ServedLog
from freshrank.deploy.served.training_set import TrainingTally, write_training_set
from freshrank.feature_actors.connectors.in_memory.log import MemorySource

EXPERIMENT = Experiment("e", [Arm("control", 0.5), Arm("fresh", 0.5, explore=EpsilonGreedy(0.5))])
TRIED = replace(PIPELINE, experiments=[EXPERIMENT])
LABEL = PIPELINE.joined
assert LABEL is not None
WITHIN_MS, GRACE_MS = LABEL.within_ms, LABEL.grace_ms
SOURCES: dict[str, Callable[[Any], MemorySource]] = {
    "as it comes": MemorySource,
    "impressions first": lambda log: OneTopicFirst(log, TRIED.impressions_topic),
    "events first": lambda log: OneTopicFirst(log, "clicks"),
}

Rows = list[dict[str, Any]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "rows.parquet"


def written(
    log: ShopLog, out: Path, source: Callable[[Any], MemorySource] = MemorySource
) -> tuple[TrainingTally, Rows]:
    seen: list[tuple[int, int, int]] = []

    def progress(partition: int, read: int, of: int) -> None:
        seen.append((partition, read, of))

    served = ServedLog(log.pipeline, Settings(), 2, "", partial(source, log.log))
    tally = write_training_set(served, out, progress)
    assert all(0 <= read <= of for _, read, of in seen)
    assert [one.name for one in out.parent.iterdir()] == [out.name], "no parts are left"
    rows: Rows = pyarrow.parquet.read_table(out).to_pylist()
    return tally, sorted(rows, key=lambda row: (row["time"], row["position"]))


def labels(rows: Rows) -> list[tuple[str, int, int | None]]:
    return [(row["user"], row["position"], row["label"]) for row in rows]


def ms_of(value: datetime) -> int:
    return round(value.timestamp() * 1000)


@pytest.mark.parametrize("order", SOURCES)
@pytest.mark.parametrize("part", [1, 16_384])
def test_each_item_has_its_label(
    order: str, part: int, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_items, "PART_ROWS", part)
    log = ShopLog(TRIED)
    log.show("u1", {"e": "fresh"}, ["i1", "i2", "i3"], version="1.7")
    shown_ms = log.at_ms
    log.order("u1", "i2")
    ordered_ms = log.at_ms
    log.wait(1_000)
    log.order("u2", "i9")
    log.order("u1", "i9")
    log.show("u1", {}, ["i4", "i5"])
    log.order("u1", "i5")
    tally, rows = written(log, out, SOURCES[order])
    assert labels(rows) == [
        ("u1", 0, 0), ("u1", 1, 1), ("u1", 2, 0), ("u1", 0, None), ("u1", 1, 1)
    ]  # fmt: skip
    assert (tally.rows, tally.positives, tally.open) == (5, 2, 1)
    first, second = rows[:2]
    assert (first["request_id"], first["version"], first["score"]) == ("r1", "1.7", 0.25)
    assert (first["arm.e"], rows[3]["arm.e"]) == ("fresh", None)
    assert second["item_key"] == hash_text("i2")
    assert ms_of(first["time"]) == shown_ms
    assert ms_of(first["label_time"]) == shown_ms + WITHIN_MS + GRACE_MS
    assert ms_of(second["label_time"]) == ordered_ms
    assert rows[3]["label_time"] is None
    assert {row["weight"] for row in rows} == {1.0}
    assert {row["propensity"] for row in rows} == {None}


def test_inputs_are_columns_as_they_were_scored(out: Path) -> None:
    log, layout = ShopLog(), PIPELINE.encoder.layout
    dense = np.arange(len(layout.dense), dtype=np.float32)
    dense[layout.dense.index("price")] = 9.5
    ids = np.zeros(layout.id_width, np.int64)
    ids[:2], ids[3:5] = [11, 12], [13, 14]
    log.show("u1", {}, ["i1"], dense=dense.tobytes(), ids=ids.tobytes())
    (row,) = written(log, out)[1]
    assert row["price"] == 9.5
    assert row["viewed_1h"] == 0.0
    assert row["user"] == "u1", "the key comes first"
    assert (row["input.user"], row["item"], row["brand"]) == (11, 12, None)
    assert (row["recent"], row["ordered"]) == ([13, 14], [])


def test_a_number_that_is_missing_and_filled_by_the_learner_is_no_fault(out: Path) -> None:
    log = ShopLog(replace(PIPELINE, cleaning=[Imputed("price", "mean")]))
    layout = log.pipeline.encoder.layout
    for name, value in (("price", np.nan), ("price", np.inf), ("viewed_1h", np.nan)):
        dense = np.ones(len(layout.dense), np.float32)
        dense[layout.dense.index(name)] = value
        log.show("u1", {}, ["i1"], dense=dense.tobytes())
    tally, (row,) = written(log, out)
    assert (row["price"], row["viewed_1h"]) == (None, 1.0)
    assert tally.left_out == {"that cannot be read": 2}


def test_propensities_are_told_where_they_were_logged(out: Path) -> None:
    log = ShopLog(TRIED)
    draws = ExploredItems(
        np.array([0.75, 0.25], np.float32).tobytes(),
        np.array([True, True]).tobytes(),
        np.array([0.25, 0.25], np.float32).tobytes(),
    )
    log.show("u1", {}, ["i1", "i2"], explored=draws)
    log.show("u1", {}, ["i1", "i2"], explored=ExploredItems(b"", b"", b""))
    rows = written(log, out)[1]
    assert [row["propensity"] for row in rows] == [0.75, 0.25, None, None]


def test_what_cannot_be_used_is_told_by_its_reason(out: Path) -> None:
    label = Joined(positive=col.kind == "order", on="item", within="1m", grace="10s")
    log = ShopLog(replace(PIPELINE, label=label))
    log.show("u1", {}, ["i1"], outage=True)
    log.show("u1", {}, ["i1"], request_id="again", once=True)
    log.show("u1", {}, ["i1"], request_id="again", once=True)
    log.show("u1", {}, ["i2"], layout="other")
    log.show("u1", {}, ["i3"], at_ms=log.at_ms - 400_000)
    log.show("u1", {}, ["i4"], scores=b"\0")
    log.show("u1", {}, ["i5"], scores=b"")
    log.show("u1", {}, ["i6"])
    log.wait(60)
    log.order("u1", "i6")  # after `within`, before `grace` is over
    tally, rows = written(log, out, SOURCES["impressions first"])
    assert labels(rows) == [("u1", 0, None), ("u1", 0, None)]
    assert sorted(tally.left_out.values()) == [1] * 6
    (impressions, events) = tally.remarks()
    assert impressions.startswith("6 impressions are left out: 1 ")
    for reason in (
        "inputs of a layout", "logged too late", "that cannot be read", "did not answer",
        "of a repeated request", "without scores",
    ):  # fmt: skip
        assert reason in impressions
    assert events == "1 events that make items positive label none: 1 after `within`"


def test_events_that_cannot_be_used_are_told_by_reason(out: Path) -> None:
    log = ShopLog()
    log.show("u1", {}, ["i1"])
    for partition in (0, 0, 1):
        log.log.append("clicks", partition, b"{", log.at_ms)
    log.log.append("clicks", 1, b'{"id": 1}', log.at_ms)
    tally, _ = written(log, out)
    first, second = tally.remarks()
    assert first.startswith("events are left out that cannot be used: 3, the first at partition 0,")
    assert second.startswith("events are left out that cannot be used: 1, the first at partition 1")


@pytest.mark.parametrize("order", SOURCES)
def test_rows_of_who_was_forgotten_are_left_out(order: str, out: Path) -> None:
    log = ShopLog()
    for user in ("u1", "u2"):
        log.show(user, {}, ["i1", "i2"])
        log.order(user, "i2")
    log.wait(1_000)
    log.order("u1", "i9")
    log.forget("u1")
    log.wait(10)
    log.show("u1", {}, ["i3"])
    tally, rows = written(log, out, SOURCES[order])
    assert labels(rows)[:2] == [("u2", 0, 0), ("u2", 1, 1)]
    assert [row["user"] for row in rows[2:]] == ["u1"], "what is shown after it is there"
    assert tally.forgotten == 2
    assert "2 items are left out of entities that were forgotten since" in tally.remarks()


def test_items_whose_events_were_deleted_are_left_out(out: Path) -> None:
    log = ShopLog()
    log.show("u1", {}, ["i1"])
    log.order("u1", "i1")
    log.wait(10)
    log.order("u1", "i9")
    log.show("u1", {}, ["i2"])
    log.log.delete("clicks", log.partition_of("u1"), 1)
    tally, rows = written(log, out)
    assert len(rows) == 1
    assert tally.events_deleted == 1
    log.log.delete("clicks", log.partition_of("u1"), 2)
    tally, rows = written(log, out)
    assert (rows, tally.events_deleted) == ([], 2)
    assert any("2 items are left out that were shown before" in one for one in tally.remarks())


def test_negatives_that_are_not_learned_count_nothing(out: Path) -> None:
    label = Joined(positive=col.kind == "order", on="item", within="1m", negatives_kept=0.5)
    log = ShopLog(replace(PIPELINE, label=label))
    log.show("u1", {}, [f"i{number}" for number in range(200)])
    log.order("u1", "i0")
    rows = written(log, out)[1]
    assert rows[0]["weight"] == 1.0
    assert 60 < sum(row["weight"] for row in rows) < 140


def test_an_item_of_a_listwise_label_counts_as_often_as_it_is_in_a_slate(out: Path) -> None:
    label = Joined(positive=col.kind == "order", on="item", within="1m", listwise=True)
    log = ShopLog(replace(PIPELINE, label=label))
    log.show("u1", {}, ["i1", "i2", "i3"])
    log.show("u1", {}, ["i8", "i9"])
    log.order("u1", "i2")
    log.wait(10)
    log.order("u1", "i1")
    log.wait(10)
    log.order("u1", "i3")
    rows = written(log, out)[1]
    by_item = {(row["request_id"], row["position"]): row["weight"] for row in rows}
    assert sorted(by_item.values()) == [0.0, 0.0, 1.0, 2.0, 2.0]
    of_second = [weight for (_, place), weight in by_item.items() if place == 1]
    assert sorted(of_second) == [0.0, 1.0], "i2 was chosen first"


def test_what_waits_is_bounded(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition_join, "MAX_PENDING_ITEMS", 4)
    monkeypatch.setattr(partition_join, "MAX_LABEL_EVENTS", 3)
    log = ShopLog()
    for number in range(40):
        log.wait(100)
        log.show("u1", {}, ["i2", "i3"])
        log.order("u1", f"i{number % 2 + 2}")
    tally, rows = written(log, out, SOURCES["events first"])
    assert (len(rows), tally.positives) == (80, 40)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_what_ends_early_leaves_the_old_file(error: type[BaseException], out: Path) -> None:
    log = ShopLog()
    log.show("u1", {}, ["i1"])
    out.write_text("old")
    served = ServedLog(log.pipeline, Settings(), 2, "", partial(MemorySource, log.log))

    def fail(*_: int) -> None:
        raise error

    with pytest.raises(error):
        write_training_set(served, out, fail)
    assert out.read_text() == "old"
    assert [one.name for one in out.parent.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_an_empty_log_gives_a_file_without_rows(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    served = ServedLog(TRIED, Settings(), 2, "", partial(MemorySource, ShopLog(TRIED).log))
    assert write_training_set(served, out, lambda *_: None).rows == 0
    assert out.read_text().startswith("request_id,user,item_key,time," if "csv" in name else "")


class TestInPython:
    """`get_training_set`."""

    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> ShopLog:
        made = ShopLog()

        async def partition_count(kafka: object, topic: str) -> int:
            return made.log.partitions_of(topic)

        monkeypatch.setattr(topics, "partition_count", partition_count)
        monkeypatch.setattr(topics, "source_of", lambda kafka: partial(MemorySource, made.log))
        return made

    def test_it_gives_a_table_also_in_a_loop(
        self, log: ShopLog, caplog: pytest.LogCaptureFixture
    ) -> None:
        log.show("u1", {}, ["i1", "i2"])
        log.order("u1", "i2")
        log.show("u1", {}, ["i3"], layout="other")
        with caplog.at_level(logging.WARNING):
            table = asyncio.run(self._asked_in_a_loop())
        assert table["label"].to_pylist() == [None, 1]
        assert "1 impressions are left out" in caplog.text
        assert "_owner" not in table.column_names

    async def _asked_in_a_loop(self) -> Any:
        return get_training_set(PIPELINE, "broker:9092")

    def test_a_label_that_joins_nothing_has_no_such_rows(self) -> None:
        pipeline = Pipeline(
            "shop",
            stream=PIPELINE.stream,
            features=[Recent],
            context=["item"],
            label=Labelled(positive=col.kind == "order"),
            model=LogisticRegression(),
        )
        with pytest.raises(ConfigError, match="no topic tells what was served"):
            get_training_set(pipeline, "broker:9092")
