"""A trend is refused where it could not be one, and forgets as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import FeatureView, Trend, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan

HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"short": "12h"}, "Item.rise.short: '12h' is no shorter than '12h'"),
        ({"short": "often"}, "Item.rise.short"),
        ({"long": 12}, "Item.rise.long"),
        ({"prior": 0}, "Item.rise.prior: 0 "),
        ({"prior": float("inf")}, "Item.rise.prior: inf"),
        ({"where": True}, "Item.rise.where: True is not a condition"),
    ],
)
def test_the_place_and_the_value_are_named(changed: dict[str, object], place: str) -> None:
    arguments: dict[str, Any] = {"short": "1h", "long": "12h", **changed}
    with pytest.raises(ConfigError) as refused:
        Trend(**arguments).check(stream.fields, "Item.rise")
    assert str(refused.value).startswith(place)


def test_each_part_of_the_definition_is_part_of_its_spelling() -> None:
    made = [
        Trend("1h", "12h"),
        Trend("2h", "12h"),
        Trend("1h", "11h"),
        Trend("1h", "12h", prior=2.0),
        Trend("1h", "12h", where=col.type == "order"),
    ]
    assert len({one.canonical() for one in made}) == len(made)


def test_the_worked_example_of_its_page_and_its_size() -> None:
    plan = TablePlan([type("V", (FeatureView,), {
        "entity": user, "source": stream, "rise": Trend("1h", "12h"),
    })])  # fmt: skip
    assert plan.bytes_per_entity - 16 == 112
    moments = [10, 20, 30] + [11 * 60 + minute for minute in range(5, 50, 5)]
    log = [behaviour(START_MS + minute * 60_000) for minute in moments]
    table = EntityTable(plan, 10)
    table.apply(columns_of(log), before=False)
    row = table.row("ann")
    assert row is not None
    at = START_MS + 12 * HOUR_MS
    found = plan.read(np.repeat(row.reshape(1, -1), 3, axis=0), at + np.array([0, 2, 30]) * HOUR_MS)
    # Two hours later the last hour is empty; the three oldest have left the long window.
    np.testing.assert_allclose(found.values[:, 0], [5.0, 1 / (9 / 12 + 1), 1.0])


def behaviour(ts: int) -> Behaviour:
    return Behaviour(event_id="e", user_id="ann", ts=ts)
