import io
import json
import math
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console

from freshrank.actors.errors import ConfigError
from freshrank.benchmarks.registry import BENCHES, BenchOptions, needed_data, run_bench
from freshrank.benchmarks.report import Figure, Report, median, new_report, now, quantile


def report_of(*figures: Figure) -> Report:
    return Report("serving", "abc123", "2026-01-01T00:00:00+00:00", {"cores": 2}, {}, figures)


@pytest.mark.parametrize(
    ("value", "better", "reach", "met"),
    [
        (1.0, "lower", 1.0, True),
        (1.01, "lower", 1.0, False),
        (0.0, "lower", 0.0, True),
        (10.0, "higher", 10.0, True),
        (9.9, "higher", 10.0, False),
        (9.9, "higher", None, None),
        (math.nan, "lower", 1.0, False),
        (math.nan, "higher", 1.0, False),
    ],
)
def test_a_figure_is_met_when_it_reaches_its_value_from_the_right_side(
    value: float, better: Literal["higher", "lower"], reach: float | None, met: bool | None
) -> None:
    assert Figure("x", value, "ms", better, reach).met is met


def test_the_document_has_the_agreed_fields_and_nothing_else() -> None:
    document = json.loads(report_of(Figure("errors", 0, "count", "lower", 0)).to_json())
    assert list(document) == ["bench", "commit", "started", "machine", "versions", "figures"]
    assert document["figures"] == [
        {"name": "errors", "value": 0, "unit": "count", "better": "lower", "reach": 0, "met": True}
    ]


def test_a_value_that_is_no_number_becomes_null_and_is_not_met() -> None:
    document = json.loads(report_of(Figure("p50_ms", math.nan, "ms", "lower", 1.0)).to_json())
    assert document["figures"][0]["value"] is None
    assert document["figures"][0]["met"] is False


def test_the_table_shows_value_reach_and_verdict() -> None:
    shown = io.StringIO()
    report_of(Figure("events_per_s", 123456, "1/s", "higher", 200_000)).print(
        Console(file=shown, width=100)
    )
    for part in ("events_per_s", "123,456", "≥ 200,000", "no"):
        assert part in shown.getvalue()


def test_writing_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    report_of().write(path)
    assert json.loads(path.read_bytes())["bench"] == "serving"


def test_a_new_report_names_commit_machine_and_versions() -> None:
    report = new_report("jd", now(), [])
    assert report.commit
    assert int(report.machine["cores"]) >= 1
    assert report.versions["numpy"]


def test_quantiles_are_of_the_nearest_rank() -> None:
    values = [float(x) for x in range(1, 101)]
    assert [quantile(values, q) for q in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert math.isnan(quantile([], 0.5))
    assert median([1.0, 10.0]) == 5.5


def test_an_unknown_bench_is_named_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="ingest"):
        run_bench("speed", BenchOptions(), Console(file=io.StringIO()))


def test_missing_data_is_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data"):
        needed_data(BenchOptions(), "jd", "the JD clickstream")
    with pytest.raises(ConfigError, match="nowhere"):
        needed_data(BenchOptions(data=tmp_path / "nowhere"), "jd", "the JD clickstream")


def test_every_bench_has_one_line_of_explanation() -> None:
    assert all(BENCHES.values())
