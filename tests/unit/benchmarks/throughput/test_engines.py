"""The figures of engines side by side."""

from __future__ import annotations

from bench_figures import by_name

from freshrank.benchmarks.throughput.engines import OWN, EngineRun, figures


def test_ours_is_compared_with_the_best_peer_and_one_that_did_not_run_has_no_figures() -> None:
    found = by_name(
        figures(
            1_000,
            {
                OWN: [EngineRun(1.0, 0.5, 0)],
                "slow": [EngineRun(10.0, 4.0, 2)],
                "quick": [EngineRun(2.0, 5.0, 0)],
                "absent": [],
            },
        )
    )
    assert found["freshrank_events_per_s"].value == 1_000
    assert found["slow_rows_wrong"].value == 2
    assert found["rate_to_best_peer"].value == 2.0
    assert found["rate_to_best_peer"].met
    assert found["cpu_of_best_peer_to_own"].value == 8.0
    assert "absent_events_per_s" not in found


def test_alone_there_is_no_ratio() -> None:
    assert "rate_to_best_peer" not in by_name(figures(10, {OWN: [EngineRun(1.0, 1.0, 0)]}))
