"""Beyond the values that are kept an estimate is as near as it says, and slides with its window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import DistinctCount, FeatureView
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.aggregations.windowed.hyperloglog import registers_for
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan


def made(error: float) -> tuple[TablePlan, EntityTable]:
    items = DistinctCount("item_id", windows=["1m"], most=16, error=error)
    plan = TablePlan([type("V", (FeatureView,), {
        "entity": user, "source": stream, "items": items,
    })])  # fmt: skip
    return plan, EntityTable(plan, 10)


def read(plan: TablePlan, table: EntityTable, at_ms: int) -> float:
    row = table.row("ann")
    assert row is not None
    return float(plan.read(row.reshape(1, -1), np.array([at_ms])).values[0, 0])


def views(first: int, count: int, ts: int) -> list[Behaviour]:
    return [
        Behaviour(event_id="e", user_id="ann", ts=ts, item_id=item)
        for item in range(first, first + count)
    ]


@pytest.mark.parametrize("error", [0.03, 0.1, 0.25])
@pytest.mark.parametrize("count", [17, 100, 1_000, 20_000])
def test_the_estimate_is_within_three_standard_errors(error: float, count: int) -> None:
    plan, table = made(error)
    for _ in range(2):  # a value that comes again changes nothing
        table.apply(columns_of(views(1, count, START_MS)), before=False)
    assert read(plan, table, START_MS) == pytest.approx(count, rel=3 * error)


def test_what_leaves_the_window_leaves_the_estimate() -> None:
    plan, table = made(0.1)
    table.apply(columns_of(views(1, 500, START_MS)), before=False)
    table.apply(columns_of(views(10_000, 200, START_MS + 50_000), 500), before=False)
    assert read(plan, table, START_MS + 50_000) == pytest.approx(700, rel=0.3)
    assert read(plan, table, START_MS + 70_000) == pytest.approx(200, rel=0.3)
    assert read(plan, table, START_MS + 120_000) == 0.0
    # The tiles of the first values are taken by others, and hold none of theirs.
    table.apply(columns_of(views(1, 40, START_MS + 200_000), 700), before=False)
    assert read(plan, table, START_MS + 200_000) == pytest.approx(40, rel=0.3)


def test_the_estimate_is_never_below_what_is_kept() -> None:
    plan, table = made(0.25)
    for number in range(1, 17):
        table.apply(columns_of(views(number, 1, START_MS), number), before=False)
    assert read(plan, table, START_MS) >= 16.0


def test_the_size_is_that_of_the_entries_and_the_registers() -> None:
    plan, _ = made(0.1)
    assert plan.bytes_per_entity - 16 == 16 * 16 + 13 * 128
    assert [registers_for(error) for error in (0.03, 0.1, 0.25)] == [2_048, 128, 32]


@pytest.mark.parametrize("error", [0.0, 0.02, 0.5, "0.1"])
def test_an_error_that_no_sketch_has_is_refused(error: Any) -> None:
    items = DistinctCount("item_id", windows=["1h"], error=error)
    with pytest.raises(ConfigError, match=r"User\.items\.error: .* is not between 0\.03 and 0\.25"):
        items.check(stream.fields, "User.items")


def test_the_error_is_part_of_the_spelling_and_nothing_is_without_it() -> None:
    spelt = [DistinctCount("item_id", ["1h"], error=one).canonical() for one in (None, 0.1, 0.2)]
    assert len(set(spelt)) == 3
    assert spelt[0] == "distinct(item_id; 32; None; 3600000)"
