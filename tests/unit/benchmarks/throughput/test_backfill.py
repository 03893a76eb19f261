"""The rate of a backfill beside that of a shard."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bench_figures import by_name

from freshrank.benchmarks.throughput import backfill
from freshrank.benchmarks.throughput.backfill_host import event_us
from freshrank.benchmarks.workloads.histories.real_history import REAL
from freshrank.examples.jd import Action
from freshrank.examples.retail import Demand


def test_ratios_are_those_of_the_middle_round() -> None:
    costs = {"live": [8.0, 10.0, 9.0], "parquet": [2.0, 1.0, 1.5], "csv": [4.0] * 3}
    found = by_name(backfill.figures({**costs, "jsonl": [8.0, 10.0, 9.0]}))
    assert found["ratio_of_parquet_to_live"].value == 6.0
    assert found["ratio_of_parquet_to_live"].met
    assert found["ratio_of_csv_to_live"].value == 2.25
    assert not found["ratio_of_csv_to_live"].met
    assert found["ratio_of_jsonl_to_live"].value == 1.0
    assert found["cpu_us_per_event_live"].value == 9.0
    assert found["events_per_core_s_csv"].value == 250_000.0


@pytest.mark.parametrize("kind", backfill.FORMATS)
def test_a_file_of_each_format_is_read_whole(kind: str, tmp_path: Path) -> None:
    files = backfill.write_history(tmp_path, 50)
    assert files[kind].name == f"behaviour.{kind}"
    assert event_us(files[kind]) > 0.0


def test_figures_of_a_real_history_say_whose_they_are() -> None:
    found = by_name(backfill.figures({"live": [8.0], "parquet": [4.0]}, "_of_jd"))
    assert found["ratio_of_parquet_to_live_of_jd"].value == 2.0
    assert found["cpu_us_per_event_live_of_jd"].value == 8.0


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("jd", Action("a", "u", 7, 8, 9, "view", 1_700_000_000_000)),
        ("retail", Demand("a", "22423", 3, 5.0, 1.8, 1_700_000_000_000)),
    ],
)
def test_a_file_of_a_real_history_is_read_by_its_example(
    name: str, event: msgspec.Struct, tmp_path: Path
) -> None:
    file = tmp_path / f"{REAL[name].topic}.jsonl"
    file.write_bytes(msgspec.json.encode(event) + b"\n")
    assert event_us(file, REAL[name].file(REAL[name].topic, "bench")) > 0.0
