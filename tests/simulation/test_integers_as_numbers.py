"""Integers of candidates and of their rows in a table that are numbers, not ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import msgspec
import numpy as np
import pytest
from fake_clock import FakeClock

from freshrank import (
    Bucketed,
    Count,
    Entity,
    FeatureView,
    Imputed,
    Joined,
    Labelled,
    LogisticRegression,
    Pipeline,
    Stream,
    Table,
    as_number,
    col,
)
from freshrank.actors.errors import ConfigError
from freshrank.actors.impressions import decode_impression, served_rows
from freshrank.actors.messages import IdField
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.state.fields_record import types_of_fields
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.encoding.context_entries import NumberOf
from freshrank.serve.explanation.explainer import Explainer

START_MS = 1_700_000_000_000


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    rank: int | None
    ts: int


class Product(msgspec.Struct):
    item: int
    stock: int | None = None
    name: str = ""


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Seen(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["1h"])


PIPELINE = Pipeline(
    "ranks",
    stream=clicks,
    features=[Seen],
    tables=[catalogue],
    context=["item", as_number("rank"), as_number(catalogue.stock)],
    crosses=[("item", "stock_bucket")],
    missing=["stock"],
    relative=["stock"],
    cleaning=[Bucketed("stock", 3), Imputed("rank", 9)],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
)
CANDIDATES: list[JsonValue] = [
    {"item": 1, "rank": 1},
    {"item": 2, "rank": 0},
    {"item": 3, "rank": None},
    {"item": 4, "rank": 4},
]


async def started() -> LocalSystem:
    log = MemoryLog(1)
    rows = [Product(1, 50), Product(2, 0), Product(3)]
    log.distribute(
        "catalogue",
        [str(row.item).encode() for row in rows],
        [msgspec.json.encode(row) for row in rows],
        np.full(len(rows), START_MS),
    )
    system = LocalSystem(PIPELINE, Settings(), World(log, FakeClock(START_MS)))
    await system.start()
    await system.drain()
    return system


def test_integers_are_numeric_inputs_of_what_was_served() -> None:
    layout = PIPELINE.encoder.layout
    assert layout.dense == ("seen_1h", "rank", "stock", "stock_missing", "stock_relative")
    assert layout.fields[:2] == (IdField("user"), IdField("item"))

    async def test() -> None:
        system = await started()
        await system.score({"user": "ann", "candidates": CANDIDATES})
        await asyncio.sleep(0)
        (value,) = system.world.log.read(PIPELINE.impressions_topic, 0, 0, 9).values
        assert value is not None
        keys, inputs, _ = served_rows(decode_impression(value), len(layout.dense), layout.id_width)
        by_item = dict(zip(keys.tolist(), np.expm1(inputs.dense[:, 1:3]).tolist(), strict=True))
        nan = float("nan")
        for number, expected in ((1, [1, 50]), (2, [0, 0]), (3, [nan, nan]), (4, [4, nan])):
            assert by_item[number] == pytest.approx(expected, nan_ok=True)
        await system.stop()

    asyncio.run(test())


def test_an_explanation_shows_them_as_numbers() -> None:
    async def test() -> None:
        system = await started()
        body = msgspec.json.encode({"user": "ann", "candidates": CANDIDATES})
        answer = await Explainer(system.replica).explain(body)
        shown = []
        for one in answer.candidates:
            assert one is not None
            values = {each.input: each.value for each in one.contributions}
            shown.append([values[name] for name in ("rank", "stock", "stock_missing")])
            assert values["stock_bucket"] == values["stock"]
        assert shown == [[1, 50, 0.0], [0, 0, 0.0], [None, None, 1.0], [4, None, 1.0]]
        await system.stop()

    asyncio.run(test())


def test_events_carry_them_too() -> None:
    own = replace(
        PIPELINE,
        tables=[],
        context=["item", as_number("rank")],
        crosses=[],
        missing=[],
        relative=[],
        cleaning=[],
        label=Labelled(positive=col.kind == "order"),
    )
    assert own.encoder.layout.dense == ("seen_1h", "rank")
    assert types_of_fields(own)["clicks"]["rank"] == "int"


def of_context(*context: str | NumberOf) -> Pipeline:
    return replace(PIPELINE, context=[*context, catalogue.stock], cleaning=[], missing=[])


@pytest.mark.parametrize(
    ("declare", "problem"),
    [
        (lambda: as_number(cast("str", 7)), "that is no field"),
        (lambda: of_context("item", as_number("kind")), "'kind' is str"),
        (lambda: of_context("item", as_number("rnk")), "Did you mean 'rank'"),
        (lambda: of_context("item", as_number(catalogue.name)), "'name' is str"),
        (lambda: of_context(as_number("item")), "'item' is not in the context"),
        (lambda: of_context("item", "rank", as_number("rank")), "given twice"),
    ],
)
def test_what_is_no_integer_or_names_an_item_is_refused(
    declare: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        declare()
