"""Integers of candidates and of their rows in a table that are numbers, not ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from context_shop import Product, catalogue, explained, pipeline, shown, started

from freshrank import Bucketed, Imputed, Labelled, Pipeline, as_number, col
from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import IdField
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.state.record_files.fields_record import types_of_fields
from freshrank.feature_actors.encoding.context_entries import NumberOf

PIPELINE = pipeline(
    "item",
    as_number("rank"),
    as_number(catalogue.stock),
    tables=[catalogue],
    crosses=[("item", "stock_bucket")],
    missing=["stock"],
    relative=["stock"],
    cleaning=[Bucketed("stock", 3), Imputed("rank", 9)],
)
PRODUCTS = [Product(1, stock=50), Product(2, stock=0), Product(3)]
CANDIDATES: list[JsonValue] = [
    {"item": 1, "rank": 1},
    {"item": 2, "rank": 0},
    {"item": 3, "rank": None},
    {"item": 4, "rank": 4},
]


def test_integers_are_numeric_inputs_of_what_was_served() -> None:
    layout = PIPELINE.encoder.layout
    assert layout.dense == ("seen_1h", "rank", "stock", "stock_missing", "stock_relative")
    assert layout.fields[:2] == (IdField("user"), IdField("item"))

    async def test() -> None:
        system = await started(PIPELINE, PRODUCTS)
        _, (keys, inputs, _) = await shown(system, CANDIDATES)
        by_item = dict(zip(keys.tolist(), np.expm1(inputs.dense[:, 1:3]).tolist(), strict=True))
        nan = float("nan")
        for number, expected in ((1, [1, 50]), (2, [0, 0]), (3, [nan, nan]), (4, [4, nan])):
            assert by_item[number] == pytest.approx(expected, nan_ok=True)
        await system.stop()

    asyncio.run(test())


def test_an_explanation_shows_them_as_numbers() -> None:
    async def test() -> None:
        system = await started(PIPELINE, PRODUCTS)
        values = await explained(system, CANDIDATES)
        names = ("rank", "stock", "stock_missing")
        assert [[one[name] for name in names] for one in values] == [
            [1, 50, 0.0],
            [0, 0, 0.0],
            [None, None, 1.0],
            [4, None, 1.0],
        ]
        assert all(one["stock_bucket"] == one["stock"] for one in values)
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
