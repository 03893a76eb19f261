from bench_figures import by_name

from freshrank.benchmarks.latency import freshness
from freshrank.benchmarks.latency.freshness import ProbeResults


def test_freshness_counts_everything_that_was_not_answered() -> None:
    features = ProbeResults([float(one) for one in range(1, 301)], unanswered=1)
    weights = ProbeResults([100.0] * 300, unanswered=2)
    figures = by_name(freshness.figures(features, weights, failed_requests=3))
    assert figures["feature_p50_ms"].value == 150.0
    assert figures["feature_p99_ms"].value == 297.0
    assert figures["feature_p99_ms"].met is False
    assert figures["weights_p99_ms"].met
    assert figures["unanswered"].value == 6
    assert figures["unanswered"].met is False
