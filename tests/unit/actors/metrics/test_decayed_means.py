"""Decayed means: what was observed lately counts most, and the first observation counts fully."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.metrics.decayed_means import DecayedMeans

numbers = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30)


@given(numbers, st.integers(1, 100))
def test_an_observation_counts_half_after_as_many_as_the_half_life(
    observed: list[float], half_life: int
) -> None:
    means = DecayedMeans(half_life)
    for number in observed:
        means.add({"x": number})
    weights = [0.5 ** (age / half_life) for age in range(len(observed))]
    total = sum(weight * one for weight, one in zip(weights, reversed(observed), strict=True))
    assert means.largest(1)["x"] == pytest.approx(total / sum(weights), rel=1e-9)


def test_without_observations_there_are_no_means() -> None:
    assert DecayedMeans(5).largest(3) == {}


def test_the_largest_come_first_and_the_rest_is_left_out() -> None:
    means = DecayedMeans(5)
    means.add({"a": 1.0, "b": 3.0, "c": 2.0})
    assert list(means.largest(2)) == ["b", "c"]
