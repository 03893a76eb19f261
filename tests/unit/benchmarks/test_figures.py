"""From measurements to figures, in each bench."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from freshrank.benchmarks.chaos import recovery
from freshrank.benchmarks.latency import freshness, serving
from freshrank.benchmarks.latency.freshness import ProbeResults
from freshrank.benchmarks.latency.load_client import LoadResult
from freshrank.benchmarks.quality import jd
from freshrank.benchmarks.report import Figure
from freshrank.benchmarks.throughput import ingest, overload, snapshot
from freshrank.benchmarks.throughput.ingest_host import IngestResult
from freshrank.benchmarks.workloads.expected_state import LogComparison


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    found = {one.name: one for one in figures}
    assert len(found) == len(figures)
    return found


def answers(per_s: float, p50_ms: float = 0.5, errors: int = 0) -> LoadResult:
    return LoadResult(per_s, p50_ms, 2 * p50_ms, errors, "")


def test_serving_compares_within_a_round_and_takes_the_middle_round() -> None:
    rounds = [
        {
            ("haproxy", 1): answers(1000, p50_ms=p50),
            ("haproxy", 32): answers(fast),
            ("default", 1): answers(10),
            ("default", 32): answers(slow),
            ("bare", 1): answers(1000),
            ("bare", 32): answers(10_000, errors=1),
        }
        for p50, fast, slow in ((0.4, 4000.0, 200.0), (0.6, 2000.0, 50.0), (9.0, 3000.0, 100.0))
    ]
    figures = by_name(serving.figures(rounds))
    assert figures["p50_ms_c1"].value == 0.6
    assert figures["p50_ms_c1"].met
    assert figures["ratio_to_default_proxy_c32"].value == 30.0
    assert figures["ratio_to_uvicorn_c32"].value == 0.3
    assert figures["errors"].value == 3
    assert figures["errors"].met is False


def test_ingest_compares_within_a_round_and_takes_the_middle_round() -> None:
    shard = [IngestResult(seconds, 5.0, 10, 100) for seconds in (10.0, 5.0, 40.0)]
    figures = by_name(ingest.figures(1_000_000, [4.0, 3.0, 4.0], shard))
    assert figures["ratio_to_bare_loop"].value == 0.4
    assert figures["events_per_s"].value == 100_000
    assert figures["events_per_s"].met
    assert figures["cpu_us_per_event"].value == 5.0


def test_a_snapshot_is_judged_by_how_late_the_loop_was_during_it() -> None:
    figures = by_name(
        snapshot.figures(
            snapshot.SnapshotTimings(
                quiet=[0.001, 0.005],
                pauses=[[0.001] * 99, [0.019] * 5, [0.002, 0.5]],
                seconds=[3.0, 2.0, 9.0],
                users=10,
                file_bytes=5_000,
                restore_seconds=1.5,
            )
        )
    )
    assert figures["pause_p99_ms"].value == pytest.approx(19.0)
    assert figures["pause_p99_ms"].met
    assert figures["longest_pause_ms"].value == 19.0
    assert figures["longest_pause_ms_without"].value == 5.0
    assert figures["seconds"].value == 3.0
    assert figures["bytes_per_user"].value == 500.0


def test_a_shop_is_filled_and_goes_on_in_every_partition() -> None:
    shop = snapshot.FilledPartitions(users=80)
    shop.fill(Console(file=io.StringIO()))
    assert [len(state.table) for state in shop.states.values()] == [10] * 8
    for _ in range(8):
        shop.apply_batch(20)
    assert sum(state.counters.events for state in shop.states.values()) == 80 + 8 * 20
    for state in shop.states.values():
        assert state.joiner is not None
        assert state.joiner.pending + state.example_queue.examples == snapshot.SHOWN


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


def test_jd_asks_that_live_is_ahead_of_the_frozen_copy_and_of_the_base_rate() -> None:
    learned = {
        "auc_live": 0.64, "auc_frozen": 0.61, "log_loss_live": 0.167, "log_loss_frozen": 0.169,
    }  # fmt: skip
    good = by_name(jd.figures(learned, {"log_loss_base_rate": 0.173, "auc_last_kind": 0.56}))
    assert good["auc_live"].met
    assert good["log_loss_live"].met
    assert good["log_loss_live"].reach == 0.169
    bad = by_name(jd.figures(learned, {"log_loss_base_rate": 0.160}))
    assert bad["log_loss_live"].met is False


def test_recovery_tells_lost_examples_from_doubled_ones() -> None:
    found = recovery.RecoveryResults(
        to_fresh_s=[2.0, 9.0, 2.5],
        expected_examples=100,
        learned_examples=97,
        to_version_s=[4.0],
        replica_answers=recovery.AnswerCounts(requests=20_000, server_errors=1, broken=3),
    )
    figures = by_name(recovery.figures(found))
    assert figures["seconds_to_fresh_p50"].value == 2.5
    assert figures["lost_examples"].value == 3 and figures["lost_examples"].met is False
    assert figures["doubled_examples"].value == 0 and figures["doubled_examples"].met
    assert figures["answers_5xx"].met is False
    assert figures["broken_connections_per_10000"].value == 1.5
    found.learned_examples = 102
    figures = by_name(recovery.figures(found))
    assert (figures["lost_examples"].value, figures["doubled_examples"].value) == (0, 2)


def test_overload_holds_memory_against_its_bound_and_counts_what_is_missing() -> None:
    compared = LogComparison(
        wrong_rows=1,
        expected_events=1_000,
        applied_events=990,
        expected_examples=50,
        learned_examples=40,
        quarantined_examples=7,
    )
    figures = by_name(overload.figures(overload.OverloadResults(800, 400, 3.0, 7, compared)))
    assert figures["peak_memory_over_bound"].value == 0.5
    assert figures["lost"].value == 10 + 3 and figures["lost"].met is False
    assert figures["doubled"].value == 0
    assert figures["wrong_values"].met is False
    twice = replace(compared, applied_events=1_002, learned_examples=45)
    figures = by_name(overload.figures(overload.OverloadResults(800, 801, 3.0, 7, twice)))
    assert figures["doubled"].value == 2 + 2 and figures["lost"].value == 0
    assert figures["peak_memory_over_bound"].met is False
