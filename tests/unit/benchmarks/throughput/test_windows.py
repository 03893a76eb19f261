"""What aggregates over windows cost, and how far off they are."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from bench_figures import by_name
from rich.console import Console

from freshrank.benchmarks.registry import BenchOptions
from freshrank.benchmarks.throughput import window_cases, windows


def test_a_quick_look_finds_every_aggregate_as_exact_as_it_says() -> None:
    shown = io.StringIO()
    figures = windows.run(BenchOptions(rounds=1, scale=0.0), Console(file=shown, width=200))
    found = by_name(figures)
    assert found["further_off_than_stated"].met
    assert found["count_90d_bytes"].value == 56
    assert found["count_lifetime_all_bytes"].value == found["count_tumbling_1h_bytes"].value == 8
    assert found["quantile_1m_error_beyond_hop"].value > 1e-3
    assert found["count_1h_error_beyond_hop"].value < 1e-6
    lines = shown.getvalue().splitlines()
    expected = len(windows.LENGTHS_MS) * len(window_cases.CASES) + len(window_cases.LIFETIME)
    assert len(lines) == 1 + expected


def test_what_is_further_off_than_stated_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # A quantile that promises a hundredth of what it keeps.
    (quantile,) = [case for case in window_cases.CASES if case.name == "quantile"]
    monkeypatch.setattr(windows, "CASES", [replace(quantile, stated=0.0005)])
    monkeypatch.setattr(windows, "LIFETIME", ())
    console = Console(file=io.StringIO())
    found = by_name(windows.run(BenchOptions(rounds=1, scale=0.0), console))
    assert found["further_off_than_stated"].value == len(windows.LENGTHS_MS)
