from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.online import sync_intervals
from freshrank.benchmarks.online.drifting import drifting
from freshrank.benchmarks.online.stream_file import LabelledStream, RawInputs
from freshrank.benchmarks.online.sync_intervals import (
    BATCHES,
    DAYS,
    INTERVALS_S,
    SyncedModel,
    sync_points,
    times_of,
)
from freshrank.benchmarks.registry import BenchOptions
from freshrank.learner.models.logistic_regression import LogisticRegression

DAY_S = 86_400.0


def newcomers(rows: int) -> LabelledStream:
    """Each shop likes everything or nothing; after five of seven days there are other shops."""
    random = np.random.default_rng(5)
    shops = random.integers(0, 40, rows) + 40 * (np.arange(rows) >= rows * 5 // 7)
    likes = random.random(80) < 0.5
    found: list[RawInputs] = [{"shop": str(shop)} for shop in shops]
    return LabelledStream("shops", "binary", (), found, likes[shops].astype(np.float32))


def test_a_sync_comes_before_the_first_row_of_each_interval() -> None:
    times_s = np.array([100.0, 100.2, 100.9, 101.1, 105.0, 105.05])
    assert sync_points(times_s, 1.0).tolist() == [0, 3, 4, 6]
    assert sync_points(times_s, 0.1).tolist() == [0, 1, 2, 3, 4, 6]
    assert sync_points(times_s, DAY_S).tolist() == [0, 6]


def test_rows_without_times_are_spread_over_the_days() -> None:
    stream = drifting(8)
    assert times_of(stream).tolist() == [number * DAYS * DAY_S / 8 for number in range(8)]
    assert times_of(replace(stream, times_s=np.arange(8.0))).tolist() == [*range(8)]


def test_the_rows_of_an_interval_are_scored_by_the_weights_of_its_beginning() -> None:
    model = SyncedModel(LogisticRegression(), newcomers(2_100))
    run = model.learned()
    never = model.never_synced(run)
    none, *points = (model.sync_points(days * DAY_S) for days in (7.0, 1.0, 0.25, 0.01))
    assert model.synced(run, none) == never, "one interval, for which nothing was learned"
    by_interval = [model.synced(run, one) for one in points]
    assert by_interval == sorted(by_interval)
    assert by_interval[0] > never + 0.1, "the second day knows the first"
    assert by_interval[-1] > 0.9
    assert model.never_synced(run) == never, "the run goes on from where it was"


def test_the_batch_part_alone_is_learned_in_batches() -> None:
    model = SyncedModel(LogisticRegression(), newcomers(2_100))
    for passes in BATCHES.values():
        run = model.learned(passes)
        assert run.learner.metrics.examples == 1_500 * max(passes, 1)
        assert model.never_synced(run) == pytest.approx(0.5, abs=0.02), "all shops are new"


def test_the_bench_tells_the_curve_and_what_is_gained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sync_intervals, "STREAMS", ["shops"])
    monkeypatch.setattr(sync_intervals, "REAL", {"shops": lambda _, rows: newcomers(rows)})
    monkeypatch.setattr(sync_intervals, "MODELS", {"linear": LogisticRegression()})
    console = Console(record=True, width=120)
    options = BenchOptions(data=tmp_path, scale=0.007)
    figures = {one.name: one for one in sync_intervals.run(options, console)}
    assert len(figures) == 1 + 2 * len(INTERVALS_S)
    batch, day = figures["auc_batch_shops_linear"], figures["auc_shops_linear_1_d"]
    gain = figures["gain_shops_linear_1_d"]
    assert gain.value == pytest.approx(day.value - batch.value)
    assert gain.met
    text = console.export_text()
    assert all(f"batch, {way}" in text for way in BATCHES)
    assert f"{figures['auc_shops_linear_100_ms'].value:.4f}" in text


def test_the_bench_needs_data() -> None:
    with pytest.raises(ConfigError, match="intervals"):
        sync_intervals.run(BenchOptions(), Console())
