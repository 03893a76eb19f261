"""Sessions are closed by the time of the read; what comes late joins the newest or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from naive import START_MS, Behaviour, columns_of, stream, user

from freshrank import FeatureView, Session, col
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.views.table_plan import TablePlan

MINUTE_MS = 60_000
plan = TablePlan([
    type("V", (FeatureView,), {"entity": user, "source": stream, "visit": Session("30m")})
])  # fmt: skip


def table_of(*minutes: int) -> EntityTable:
    table = EntityTable(plan, 10)
    table.apply(columns_of(events(*minutes)), before=False)
    return table


def events(*minutes: int) -> list[Behaviour]:
    times = [START_MS + minute * MINUTE_MS for minute in minutes]
    return [Behaviour(event_id="e", user_id="ann", ts=ts) for ts in times]


def read(table: EntityTable, minute: int) -> list[float]:
    row = table.row("ann")
    assert row is not None
    at = np.array([START_MS + minute * MINUTE_MS])
    found: list[float] = plan.read(row.reshape(1, -1), at).values[0].tolist()
    return found


def test_the_worked_example_of_its_page_its_columns_and_its_size() -> None:
    assert plan.columns == ("visit_count", "visit_depth", "visit_length", "visit_idle")
    assert plan.bytes_per_entity - 16 == 32
    assert read(table_of(0, 10, 120), 121) == [2.0, 1.0, 0.0, 60.0]


def test_a_session_is_over_when_the_gap_has_passed_at_the_time_of_the_read() -> None:
    table = table_of(0, 10)
    assert read(table, 40) == [1.0, 2.0, 600.0, 1_800.0]
    assert read(table, 41) == [1.0, 0.0, 0.0, 1_860.0]


def test_a_late_event_joins_the_newest_session_or_is_refused() -> None:
    table = table_of(0, 100)
    late = table.apply(columns_of(events(70, 39, 40), 2), before=False).late
    assert late.tolist() == [False, True, False]
    assert read(table, 100) == [2.0, 3.0, 3_600.0, 0.0]


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"gap": "30 minutes"}, "User.visit.gap: '30 minutes' is not a duration"),
        ({"where": True}, "User.visit.where: True is not a condition"),
    ],
)
def test_the_place_and_the_value_are_named(changed: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Session(**{"gap": "30m", **changed}).check(stream.fields, "User.visit")
    assert str(refused.value).startswith(place)


def test_each_part_of_the_definition_is_part_of_its_spelling() -> None:
    made = [Session("30m"), Session("31m"), Session("30m", where=col.type == "order")]
    assert len({one.canonical() for one in made}) == len(made)
