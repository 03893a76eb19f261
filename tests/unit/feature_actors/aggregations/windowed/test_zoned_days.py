"""Days by the clocks of a zone, where these change."""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime, time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import DAY_MS, HOUR_MS, MINUTE_MS, Behaviour, Days, Naive, always, columns_of, stream
from naive import user as entity

from freshrank import Count, DistinctCount, FeatureView, Tumbling
from freshrank.feature_actors.aggregations.windowed.zoned_days import tile_shifts
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.times.zones import clock_changes
from freshrank.feature_actors.views.table_plan import TablePlan

ZONES = sorted(zoneinfo.available_timezones())

# Clocks forward and back; by half an hour; at midnight, back into the day before; a date left out.
CHANGES = {
    "spring": ("Europe/Berlin", date(2025, 3, 30)),
    "autumn": ("Europe/Berlin", date(2025, 10, 26)),
    "autumn far west": ("America/Los_Angeles", date(2024, 11, 3)),
    "half an hour": ("Australia/Lord_Howe", date(2025, 4, 6)),
    "midnight is left out": ("Asia/Beirut", date(2022, 3, 27)),
    "midnight comes twice": ("America/Sao_Paulo", date(2018, 2, 18)),
    "a minute of the next day": ("America/St_Johns", date(2010, 11, 7)),
    "one o'clock is midnight": ("America/Havana", date(2024, 11, 3)),
    "a date is left out": ("Pacific/Apia", date(2011, 12, 31)),
    "no change": ("Asia/Shanghai", date(2025, 3, 30)),
}
BEGINS = {"0h": None, "2h": "2h", "30m": "30m", "5h": "5h"}
BEGINS_MS = {"0h": 0, "2h": 2 * HOUR_MS, "30m": 30 * MINUTE_MS, "5h": 5 * HOUR_MS}


def midnight_ms(zone: str, day: date) -> int:
    first = datetime.combine(day, time(), zoneinfo.ZoneInfo(zone))
    return int(first.timestamp() * 1000)


@pytest.mark.parametrize(("zone", "day"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("begins", BEGINS)
@given(data=st.data())
@settings(max_examples=30)
def test_days_are_those_of_the_clocks_at_any_time(
    zone: str, day: date, begins: str, data: st.DataObject
) -> None:
    start_ms = midnight_ms(zone, day)
    # Minutes around the day of the change, most near it.
    minutes = st.one_of(st.integers(-3_000, 4_500), st.integers(-130, 250))
    log = [
        Behaviour("e", "ann", start_ms + minute * MINUTE_MS, category=str(minute % 7))
        for minute in data.draw(st.lists(minutes, max_size=25))
    ]
    at_ms = start_ms + data.draw(minutes) * MINUTE_MS
    today = Tumbling("1d", begins=BEGINS[begins], zone=zone)
    yesterday = Tumbling("1d", begins=BEGINS[begins], zone=zone, previous=True)
    body = {
        "entity": entity,
        "source": stream,
        "n": Count(windows=[today, yesterday]),
        "late": Count(windows=[yesterday], delay="1d"),
        "kinds": DistinctCount("category", windows=[today], most=7),
    }
    plan = TablePlan([type("View", (FeatureView,), body)])
    table = EntityTable(plan, 10)
    table.apply(columns_of(log), before=False)
    row = table.row("ann")
    rows = plan.empty_row if row is None else row
    found = plan.read(rows.reshape(1, -1), np.array([at_ms])).values[0]
    naive = Naive(log)
    day_on, day_before, delayed = (
        Days(DAY_MS, BEGINS_MS[begins], back, delay_ms, zone)
        for back, delay_ms in ((0, 0), (1, 0), (1, DAY_MS))
    )
    assert found.tolist() == [
        naive.count(day_on, always, at_ms),
        naive.count(day_before, always, at_ms),
        naive.count(delayed, always, at_ms),
        float(len({one.category for one in naive.window(day_on, always, at_ms)})),
    ]


@given(zone=st.sampled_from(ZONES), at_s=st.integers(0, 4_102_444_799))
def test_the_known_changes_of_each_zone_are_those_of_its_clocks(zone: str, at_s: int) -> None:
    offset = datetime.fromtimestamp(at_s, zoneinfo.ZoneInfo(zone)).utcoffset()
    assert offset is not None
    last = [ms for since_ms, ms in clock_changes(zone) if since_ms <= at_s * 1000][-1]
    assert last == offset.total_seconds() * 1000


@given(
    zone=st.sampled_from(ZONES),
    days=st.sampled_from([1, 7, 30]),
    begins_ms=st.integers(0, 25).map(lambda hours: hours * HOUR_MS),
)
def test_the_number_of_a_tile_never_falls(zone: str, days: int, begins_ms: int) -> None:
    length_ms = days * DAY_MS
    shift, changes = tile_shifts(zone, length_ms, -begins_ms % length_ms)
    for at, after in changes:
        assert 0 <= (at - 1 + shift) // length_ms <= (at + after) // length_ms
        shift = after


def test_a_week_of_a_zone_begins_on_its_monday() -> None:
    zone, monday = "Europe/Berlin", date(2025, 3, 31)  # the day after clocks went forward
    at_ms = midnight_ms(zone, monday)
    week = Tumbling("7d", begins="4d", zone=zone)
    body = {"entity": entity, "source": stream, "n": Count(windows=[week])}
    plan = TablePlan([type("View", (FeatureView,), body)])
    table = EntityTable(plan, 10)
    times = [at_ms - 1, at_ms, at_ms + 7 * DAY_MS - 1]
    table.apply(columns_of([Behaviour("e", "ann", ts) for ts in times]), before=False)
    rows = table.rows(table.slots())
    assert plan.read(rows, np.array([at_ms])).values.tolist() == [[2.0]]
    assert plan.read(rows, np.array([at_ms + 7 * DAY_MS])).values.tolist() == [[0.0]]
