"""Buckets, hours and days are those of Python, and are refused where they could not be."""

from __future__ import annotations

import bisect
import math
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import Behaviour, columns_of, stream

from freshrank import Count, bucket, col, day_of_week, hour_of_day
from freshrank.actors.errors import ConfigError
from freshrank.feature_actors.streams.expressions.derived import check_boundaries
from freshrank.feature_actors.streams.expressions.numbers import NumberExpression

# The years 1973 to 2034.
FIRST, LAST = 94_694_400, 2_051_222_400

prices = st.one_of(st.none(), st.sampled_from([-1.0, 0.0, 9.9, 10.0, 10.5, 50.0, 1e9]))


def checked(number: NumberExpression) -> None:
    number.check(stream.fields, "View.f")


def behaviour(price: float | None = None, ts: int = 1) -> Behaviour:
    return Behaviour(event_id="e", user_id="u", ts=ts, price=price)


@given(log=st.lists(prices, max_size=6), boundaries=st.sampled_from([[10.0], [0, 10, 50]]))
def test_a_bucket_is_the_number_of_boundaries_that_a_value_is_not_below(
    log: list[float | None], boundaries: list[float]
) -> None:
    found = bucket("price", boundaries).evaluate(columns_of([behaviour(one) for one in log]))
    wanted = [math.nan if one is None else bisect.bisect_right(boundaries, one) for one in log]
    np.testing.assert_equal(found.tolist(), [float(one) for one in wanted])


@given(
    seconds=st.lists(st.integers(FIRST, LAST), max_size=5),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"]),
)
def test_hour_and_day_are_those_of_the_zones_clocks(seconds: list[int], zone: str) -> None:
    stamps = [1000 * one + 7 for one in seconds]
    columns = columns_of([behaviour(ts=ts) for ts in stamps])
    local = [datetime.fromtimestamp(ts / 1000, zoneinfo.ZoneInfo(zone)) for ts in stamps]
    assert hour_of_day(zone).evaluate(columns).tolist() == [one.hour for one in local]
    assert day_of_week(zone).evaluate(columns).tolist() == [one.weekday() for one in local]


def test_the_hour_follows_summer_time_to_the_millisecond() -> None:
    begin = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() * 1000)
    columns = columns_of([behaviour(ts=begin - 1), behaviour(ts=begin)])
    assert hour_of_day("Europe/Berlin").evaluate(columns).tolist() == [1.0, 3.0]
    assert hour_of_day().evaluate(columns).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("ts", [-(10**17), -62_135_596_800_001, 253_402_300_800_000, 10**17])
def test_a_wild_time_has_the_clocks_of_the_nearest_that_has_a_year(ts: int) -> None:
    columns = columns_of([behaviour(ts=ts)])
    near = columns_of([behaviour(ts=-62_100_000_000_000 if ts < 0 else 253_400_000_000_000)])
    (ahead,) = hour_of_day("Asia/Tokyo").evaluate(near) - hour_of_day().evaluate(near)
    (hour,) = hour_of_day("Asia/Tokyo").evaluate(columns)
    assert 0 <= hour < 24
    assert abs((hour - hour_of_day().evaluate(columns)[0] - ahead + 12) % 24 - 12) <= 1


def test_they_are_numbers_as_any_other_in_conditions_and_calculations() -> None:
    night = (hour_of_day() < 6) & (bucket(col.price * 2, [10, 50]) == 1)
    assert night.fields_read() == {"price"}
    assert str(night) == "((hour_of_day('UTC') < 6) & (bucket((price * 2); 10.0, 50.0) == 1))"
    columns = columns_of([behaviour(5.0), behaviour(4.0), behaviour(None)])
    assert night.evaluate(columns).tolist() == [True, False, False]
    Count(where=night, windows=["1h"]).check(stream.fields, "Night.events")


@pytest.mark.parametrize(
    ("definition", "problem"),
    [
        (lambda: checked(hour_of_day("Europe/Berln")), "View.f hour.*Did you mean 'Europe/Berlin'"),
        (lambda: checked(day_of_week("../etc")), "'../etc' is no time zone that is known here"),
        (lambda: checked(bucket("prise", [1])), "'prise'.*'price'"),
        (lambda: checked(bucket("type", [1])), "the field 'type' is str"),
        (lambda: bucket("price", [50, 10]), "bucket.boundaries: 10 is not above 50"),
        (lambda: bucket("price", [10, 10]), "10 is not above 10"),
        (lambda: check_boundaries([], "here"), "here: .* is no list of 1 to 255"),
        (lambda: check_boundaries(10, "here"), "10 is no list"),
        (lambda: check_boundaries(["a"], "here"), "'a' is no finite number"),
        (lambda: check_boundaries([1, math.inf], "here"), "inf is no finite number"),
    ],
)
def test_what_cannot_be_derived_is_refused_by_name(
    definition: Callable[[], object], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){problem}"):
        definition()
