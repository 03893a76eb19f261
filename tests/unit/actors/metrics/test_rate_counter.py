"""The one rate counter: exact where counts are dated exactly, and bounded in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.metrics.rate_counter import RateCounter


def test_before_any_time_has_passed_there_is_no_rate() -> None:
    rate = RateCounter(5.0)
    assert rate.per_second(1.0) is None
    rate.add(100, 1.0)
    assert rate.per_second(1.0) is None


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1_000)), min_size=2, max_size=60))
def test_it_is_the_count_of_the_period_divided_by_it(steps: list[tuple[int, int]]) -> None:
    """Counts come in whole seconds, far apart enough to be dated exactly."""
    rate, now, counts = RateCounter(10.0), 0.0, []
    for seconds, count in steps:
        now += seconds
        rate.add(count, now)
        counts.append((now, count))
    began = counts[0][0]
    within = [count for when, count in counts[1:] if when > now - 10.0]
    assert rate.per_second(now) == pytest.approx(sum(within) / min(10.0, now - began))


def test_a_steady_stream_has_its_rate_however_often_it_is_counted() -> None:
    rate = RateCounter(5.0)
    for number in range(100_000):
        rate.add(1, number / 1_000)
    assert rate.per_second(99.999) == pytest.approx(1_000.0, rel=0.02)
    assert rate.per_second(200.0) == 0.0


def test_a_total_that_is_counted_elsewhere_may_fall_at_a_restart() -> None:
    rate = RateCounter(5.0)
    for second, total in enumerate([1_000, 1_100, 1_200, 700, 750]):
        rate.observe(total, float(second))
    assert rate.per_second(4.0) == pytest.approx((100 + 100 + 0 + 50) / 4)
