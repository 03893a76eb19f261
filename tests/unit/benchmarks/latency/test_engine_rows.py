"""The table and the figures of how soon engines' rows can be read."""

from __future__ import annotations

import io
import math

from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.latency.rows import engines
from freshrank.benchmarks.latency.rows.row_probes import RowLatencies
from freshrank.benchmarks.throughput.engines import OWN

FOUND = {
    (OWN, 1_000): RowLatencies([2.0] * 100),
    ("quick", 1_000): RowLatencies([1.0] * 100),
    ("slow", 1_000): RowLatencies([9.0] * 100),
    (OWN, 5_000): RowLatencies([4.0] * 100),
    ("slow", 5_000): RowLatencies([9.0] * 98, missing=2),
    (OWN, 20_000): RowLatencies([30.0] * 100),
}


def test_ours_is_compared_with_the_soonest_peer_at_each_rate() -> None:
    found = by_name(engines.figures(FOUND))
    assert found["best_peer_to_own_1k_p99"].value == 0.5
    assert found["best_peer_to_own_1k_p99"].met is False
    assert found["freshrank_1k_p99_ms"].reach is None
    assert found["freshrank_5k_p99_ms"].reach == 20.0
    assert "best_peer_to_own_20k_p99" not in found


def test_a_row_that_never_comes_is_later_than_any_other() -> None:
    found = by_name(engines.figures(FOUND))
    assert found["slow_5k_p50_ms"].value == 9.0
    assert math.isinf(found["slow_5k_p99_ms"].value)
    assert found["best_peer_to_own_5k_p99"].met


def test_the_table_shows_each_engine_at_each_rate() -> None:
    written = io.StringIO()
    Console(file=written, width=100).print(engines.table(FOUND))
    lines = [line.split() for line in written.getvalue().splitlines()]
    (slow,) = [line for line in lines if "slow" in line]
    assert " ".join(slow) == "│ slow │ 9.00 / 9.00 │ 9.00 / never │ did not run │"
