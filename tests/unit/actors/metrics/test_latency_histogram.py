import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.metrics.latency_histogram import LatencyHistogram, RecentLatencies
from freshrank.actors.protocols import JsonValue

latencies = st.lists(st.floats(0.02, 1e6), min_size=1, max_size=200)


def filled(values: list[float]) -> LatencyHistogram:
    histogram = LatencyHistogram()
    histogram.add(np.array(values, dtype=np.float64))
    return histogram


@given(latencies, st.floats(0.0, 1.0))
def test_a_quantile_is_within_two_percent_of_the_exact_one(
    values: list[float], share: float
) -> None:
    exact = sorted(values)[max(math.ceil(share * len(values)), 1) - 1]
    assert filled(values).quantile(share) == pytest.approx(exact, rel=0.021)


@given(latencies, latencies)
def test_merging_two_histograms_is_counting_all_their_values(
    some: list[float], others: list[float]
) -> None:
    merged = filled(some)
    merged.merge(filled(others))
    assert merged.to_json() == filled(some + others).to_json()


@given(latencies)
def test_json_brings_a_histogram_back(values: list[float]) -> None:
    figures = json.loads(json.dumps(filled(values).to_json()))
    assert LatencyHistogram.from_json(figures).to_json() == filled(values).to_json()


@pytest.mark.parametrize("buckets", [None, 3, [[1]], [[1, "a"]], [[-1, 1]], [[9999, 1]]])
def test_json_of_something_else_is_refused(buckets: JsonValue) -> None:
    with pytest.raises(ValueError, match="bucket"):
        LatencyHistogram.from_json({"buckets": buckets})


def test_an_empty_histogram_has_no_quantiles_but_valid_json() -> None:
    empty = LatencyHistogram()
    assert math.isnan(empty.quantile(0.5))
    assert json.loads(json.dumps(empty.to_json()))["p99_ms"] is None


def test_zero_negative_and_huge_values_are_counted_in_the_outer_buckets() -> None:
    histogram = filled([-5.0, 0.0, 1e15])
    assert histogram.count == 3
    assert histogram.quantile(0.5) == pytest.approx(0.01, rel=0.03)
    assert histogram.quantile(1.0) > 1e7


def test_recent_latencies_forget_what_is_older_than_two_periods() -> None:
    recent = RecentLatencies(period_s=10.0)
    recent.add(np.array([1.0]), monotonic=100.0)
    recent.add(np.array([2.0]), monotonic=111.0)
    assert recent.at(111.0).count == 2
    assert recent.at(121.5).count == 1
    assert recent.at(200.0).count == 0
