"""A quantile is refused where it could not be one, and is as near as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import FeatureView, Quantile, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"of": "prise"}, "Item.prices: Stream('behaviour') has no field 'prise'"),
        ({"q": 50}, "Item.prices.q: 50 is no share"),
        ({"q": "half"}, "Item.prices.q: 'half' is no share"),
        ({"error": 0}, "Item.prices.error: 0 is not between 0 and 1"),
        ({"between": 10}, "Item.prices.between: 10 is no pair"),
        ({"between": "ab"}, "Item.prices.between: 'ab' is no pair"),
        ({"between": (0, 10)}, "Item.prices.between: 0 is no number above 0"),
        ({"between": (10, 1)}, "Item.prices.between: 1 is not above 10"),
        ({"error": 0.001}, "Item.prices.between: an error of 0.001 cuts (1, 1000) into 3455"),
        ({"where": True}, "Item.prices.where: True is not a condition"),
        ({"windows": []}, "Item.prices.windows: no window"),
    ],
)
def test_the_place_and_the_value_are_named(changed: dict[str, object], place: str) -> None:
    arguments: dict[str, Any] = {
        "of": "price", "between": (1, 1_000), "windows": ["1h"], **changed
    }  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        Quantile(**arguments).check(stream.fields, "Item.prices")
    assert str(refused.value).startswith(place)


def test_each_part_of_the_definition_is_part_of_its_spelling() -> None:
    made = [
        Quantile("price", (1, 9), ["1h"]),
        Quantile("item_id", (1, 9), ["1h"]),
        Quantile("price", (2, 9), ["1h"]),
        Quantile("price", (1, 8), ["1h"]),
        Quantile("price", (1, 9), ["2h"]),
        Quantile("price", (1, 9), ["1h"], hop="1m"),
        Quantile("price", (1, 9), ["1h"], q=0.9),
        Quantile("price", (1, 9), ["1h"], error=0.1),
        Quantile("price", (1, 9), ["1h"], where=col.type == "order"),
    ]
    assert len({one.canonical() for one in made}) == len(made)


def read(prices: Quantile, values: list[float]) -> float:
    body = {"entity": user, "source": stream, "prices": prices}
    plan = TablePlan([type("V", (FeatureView,), body)])
    log = [Behaviour(event_id="e", user_id="ann", ts=START_MS, price=one) for one in values]
    table = EntityTable(plan, 10)
    table.apply(columns_of(log), before=False)
    row = table.row("ann")
    assert row is not None
    return float(plan.read(row.reshape(1, -1), np.array([START_MS])).values[0, 0])


def test_the_worked_example_of_its_page_its_columns_and_its_size() -> None:
    prices = Quantile("price", q=0.5, between=(1, 1_000), windows=["7d"])
    body = {"entity": user, "source": stream, "typical": prices}
    plan = TablePlan([type("V", (FeatureView,), body)])
    assert plan.columns == ("typical_7d",)
    buckets = 2 + int(np.ceil(np.log(1_000) / np.log(1.05 / 0.95)))
    assert plan.bytes_per_entity - 16 == 8 * -(-13 * buckets // 2)
    assert plan.bytes_per_entity < 3_800
    assert read(prices, [10.0, 20.0, 400.0]) == pytest.approx(20.0, rel=0.05)


@given(
    values=st.lists(st.floats(1.0, 1_000.0), min_size=1, max_size=50),
    q=st.floats(0.0, 1.0),
    error=st.sampled_from([0.05, 0.1, 0.3]),
)
def test_the_value_of_the_rank_is_no_further_than_the_error(
    values: list[float], q: float, error: float
) -> None:
    found = read(Quantile("price", (1, 1_000), ["7d"], q, error), values)
    true = sorted(values)[int(q * (len(values) - 1))]
    assert abs(found - true) <= true * error * (1 + 1e-9)


def test_what_lies_beyond_the_range_counts_as_its_nearer_end() -> None:
    prices = Quantile("price", (1, 100), ["7d"])
    assert read(prices, [-5.0, 0.0, 0.5]) == 1.0
    assert read(prices, [1e6, 1e9]) == pytest.approx(100.0, rel=0.11)
