"""A histogram is refused where it could not be one; its columns and its size are as declared."""

from __future__ import annotations

from typing import Any

import pytest
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import FeatureView, Histogram, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"of": "prise"}, "Item.prices: Stream('behaviour') has no field 'prise'"),
        ({"of": "type"}, "Item.prices: the field 'type' is str"),
        ({"boundaries": [50, 10]}, "Item.prices.boundaries: 10 is not above 50"),
        ({"boundaries": 10}, "Item.prices.boundaries: 10 is no list"),
        ({"where": True}, "Item.prices.where: True is not a condition"),
        ({"windows": []}, "Item.prices.windows: no window"),
    ],
)
def test_the_place_and_the_value_are_named(changed: dict[str, object], place: str) -> None:
    arguments: dict[str, Any] = {
        "of": "price", "boundaries": [10, 50], "windows": ["1h"], **changed
    }  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        Histogram(**arguments).check(stream.fields, "Item.prices")
    assert str(refused.value).startswith(place)


def test_each_part_of_the_definition_is_part_of_its_spelling() -> None:
    made = [
        Histogram("price", [10], windows=["1h"]),
        Histogram("item_id", [10], windows=["1h"]),
        Histogram("price", [10, 20], windows=["1h"]),
        Histogram("price", [10], windows=["2h"]),
        Histogram("price", [10], windows=["1h"], hop="1m"),
        Histogram("price", [10], windows=["1h"], shares=False),
        Histogram("price", [10], windows=["1h"], where=col.type == "order"),
    ]
    assert len({one.canonical() for one in made}) == len(made)


def test_the_worked_example_of_its_page_its_columns_and_its_size() -> None:
    prices = Histogram("price", boundaries=[10, 50], windows=["1d"])
    plan = TablePlan([type("V", (FeatureView,), {
        "entity": user, "source": stream, "prices": prices,
    })])  # fmt: skip
    assert plan.columns == ("prices_1d_0", "prices_1d_1", "prices_1d_2")
    assert plan.bytes_per_entity - 16 == 8 * -(-13 * 3 // 2)
    log = [
        Behaviour(event_id="e", user_id="ann", ts=START_MS, price=price)
        for price in (5.0, 20.0, 20.0, 70.0, None)
    ]
    before = EntityTable(plan, 10).apply(columns_of(log), before=True).before
    assert before is not None
    assert before.values[4].tolist() == [0.25, 0.5, 0.25]
