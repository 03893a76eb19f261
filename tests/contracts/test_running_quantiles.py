"""Running quantiles against those of all numbers, whatever comes in whatever steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freshrank.actors.messages import Doubles
from freshrank.learner.parameters.input_quantiles import (
    KNOTS,
    RANKS,
    VALUES,
    knots_of,
    merge_knots,
    most_frequent,
    no_knots,
    quantile,
)

COUNT = 20_000
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
STATED_ERROR = 0.01
RANDOM = np.random.default_rng(11)
NORMAL = RANDOM.normal(size=COUNT)
STREAMS = {
    "normal": NORMAL,
    "far from its origin": 1e6 + NORMAL,
    "heavy tails": RANDOM.standard_cauchy(COUNT),
    "of many sizes": np.exp(3.0 * NORMAL),
    "sorted": np.sort(NORMAL),
    "falling": -np.sort(NORMAL),
    "with a trend": NORMAL + np.linspace(0.0, 10.0, COUNT),
    "moved at once": NORMAL + 5.0 * (np.arange(COUNT) > COUNT / 2),
    "two humps": NORMAL + 200.0 * (RANDOM.random(COUNT) < 0.5),
    "with a few wild ones": np.where(RANDOM.random(COUNT) < 0.001, 1e30, NORMAL),
    "0 or 1": (RANDOM.random(COUNT) < 0.3).astype(np.float64),
    "counts": RANDOM.poisson(3.0, COUNT).astype(np.float64),
    "mostly 0": np.where(RANDOM.random(COUNT) < 0.6, 0.0, np.exp(NORMAL)),
    "always the same": np.full(COUNT, 7.0),
}


def running(numbers: Doubles, step: int) -> Doubles:
    """float64[2k]: the knots of numbers that come so many at a time."""
    found, seen = no_knots(1), 0
    for begin in range(0, len(numbers), step):
        part = numbers[begin : begin + step]
        seen += len(part)
        share = np.array([len(part) / seen])
        found = merge_knots(found, knots_of(part)[:, np.newaxis], share)
    return found[:, 0]


def error_of(found: float, share: float, ordered: Doubles) -> float:
    """By which share of all numbers `found` is off the quantile of `share`."""
    below = np.searchsorted(ordered, found, "left") / len(ordered)
    up_to = np.searchsorted(ordered, found, "right") / len(ordered)
    return float(max(below - share, share - up_to, 0.0))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("step", [7, 64, 1_024])
def test_quantiles_are_within_the_stated_error(name: str, step: int) -> None:
    ordered, knots = np.sort(STREAMS[name]), running(STREAMS[name], step)
    errors = [error_of(quantile(knots, share), share, ordered) for share in SHARES]
    assert max(errors) <= STATED_ERROR
    assert quantile(knots, 0.0) == ordered[0]
    assert quantile(knots, 1.0) == ordered[-1]


@pytest.mark.parametrize("name", ["normal", "with a trend", "mostly 0", "counts"])
def test_numbers_may_come_one_by_one(name: str) -> None:
    numbers = STREAMS[name][::10]
    ordered, knots = np.sort(numbers), running(numbers, 1)
    errors = [error_of(quantile(knots, share), share, ordered) for share in SHARES]
    assert max(errors) <= STATED_ERROR


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-5, 5) | st.floats(-1e9, 1e9), min_size=1, max_size=300),
    st.integers(1, 40),
)
def test_knots_are_a_distribution_whatever_comes(numbers: list[float], step: int) -> None:
    values = np.array(numbers, dtype=np.float64)
    knots = running(values, step)
    assert (np.diff(knots[VALUES]) >= 0.0).all() and (np.diff(knots[RANKS]) >= 0.0).all()
    assert (knots[0], knots[KNOTS - 1]) == (values.min(), values.max())
    assert (knots[KNOTS], knots[-1]) == (0.0, 1.0)
    assert set(knots[VALUES]) <= set(values), "no value is made up"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=400), st.integers(1, 64))
def test_of_few_values_each_has_its_own_share(numbers: list[int], step: int) -> None:
    values = np.array(numbers, dtype=np.float64)
    knots, ordered = running(values, step), np.sort(values)
    for share in np.linspace(0.0, 1.0, 21):
        assert error_of(quantile(knots, float(share)), float(share), ordered) <= 0.02


def test_unit_and_origin_do_not_matter() -> None:
    knots, other = running(NORMAL, 64), running(4.0 * NORMAL, 64)
    np.testing.assert_array_equal(4.0 * knots[VALUES], other[VALUES])
    np.testing.assert_array_equal(knots[RANKS], other[RANKS])


def test_nothing_that_comes_changes_nothing() -> None:
    before = np.concatenate([knots_of(NORMAL)[:, np.newaxis], no_knots(1)], axis=1)
    after = merge_knots(before, no_knots(2), np.zeros(2))
    np.testing.assert_array_equal(after, before)
    assert quantile(no_knots(1)[:, 0], 0.5) == 0.0


@pytest.mark.parametrize(
    ("name", "expected"), [("counts", (2.0, 3.0)), ("mostly 0", (0.0,)), ("0 or 1", (0.0,))]
)
def test_the_most_frequent_value_is_one_that_came(name: str, expected: tuple[float, ...]) -> None:
    assert most_frequent(running(STREAMS[name], 64)) in expected


def test_where_no_value_comes_again_the_most_frequent_is_where_most_lie() -> None:
    assert abs(most_frequent(running(NORMAL, 64))) < 1.0
