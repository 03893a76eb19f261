"""Labels that come late, through joiner and learner."""

from __future__ import annotations

import pytest
from rich.console import Console

from freshrank.benchmarks.quality.label_delay import (
    MOST_BIAS,
    NEVER,
    WITHIN_MS,
    run,
    serve,
    traffic,
)
from freshrank.benchmarks.registry import BenchOptions

SECONDS = 1_200


@pytest.mark.repeats
@pytest.mark.parametrize("pause_s", [0, 1_800])
def test_late_clicks_do_not_bias_what_is_served(pause_s: int) -> None:
    """In the second half, so that the start from no knowledge at all counts for nothing."""
    shown = traffic(SECONDS, pause_s)
    soon, late = (serve(shown, WITHIN_MS[within]) for within in ("10m", "1d"))
    assert abs(soon.bias_later) < 0.05 and abs(late.bias_later) < 0.05
    assert soon.bias == pytest.approx(late.bias, abs=0.01), "whatever `within` is"
    assert soon.auc_told == pytest.approx(soon.auc, abs=0.005)
    waited = serve(shown, WITHIN_MS["10m"], at_once=False)
    assert abs(waited.bias_later) > 0.1 and waited.auc < soon.auc


def test_the_traffic_is_clicked_as_often_as_it_says() -> None:
    shown = traffic(SECONDS)
    clicked = shown.clicked_ms < NEVER
    assert clicked.mean() == pytest.approx(0.0987, abs=0.01)
    assert (shown.clicked_ms[clicked] > shown.shown_ms[clicked]).all()
    assert (shown.shown_ms[1:] >= shown.shown_ms[:-1]).all()


def test_the_bench_gives_bias_and_auc_for_each_within_with_and_without_a_pause() -> None:
    figures = {one.name: one for one in run(BenchOptions(scale=0.005), Console(quiet=True))}
    names = [*WITHIN_MS, *(f"{within}_pause" for within in WITHIN_MS)]
    for name in names:
        assert figures[f"bias_{name}"].reach == MOST_BIAS
        assert 0.0 <= figures[f"bias_{name}"].value < figures[f"bias_when_known_{name}"].value + 1.0
    assert len(figures) == 4 * len(names)
