import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.examples import retail
from freshrank.examples.retail import (
    Demand,
    NoFeatures,
    forecasts,
    main,
    mean_error,
    pipeline,
    pipeline_with,
    read_demand,
    records,
)

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
MONDAY = datetime(2011, 1, 3, tzinfo=UTC)


def line(code: str, pieces: int, at: str) -> str:
    return f'1,{code},"A LAMP, BLUE",{pieces},{at},2.55,17850.0,United Kingdom'


def written(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "retail.csv.gz"
    path.write_bytes(gzip.compress("\n".join([HEAD, *lines]).encode()))
    return path


def day(number: int, quantity: float, product: str = "10001") -> Demand:
    at = MONDAY + timedelta(days=number, hours=20)
    ts = int(at.timestamp() * 1000)
    log = float(np.log1p(quantity))
    return Demand(f"{product}_{number}", product, at.weekday(), quantity, log, ts)


def test_lines_are_added_up_by_product_and_day_from_the_first_sale_on(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        [
            line("10001", 3, "2011-01-03 08:00:00"),
            line("10001", 4, "2011-01-03 17:00:00"),
            line("10002a", 5, "2011-01-04 09:00:00"),
            line("10001", -4, "2011-01-04 09:10:00"),
            line("POST", 1, "2011-01-05 09:00:00"),
            line("10001", 2, "2011-01-06 09:00:00"),
        ],
    )
    seen = read_demand(path)
    assert [(one.product, one.weekday, one.quantity) for one in seen] == [
        ("10001", 0, 7.0),
        ("10001", 1, 0.0),
        ("10002A", 1, 5.0),
        ("10001", 3, 2.0),
        ("10002A", 3, 0.0),
    ]
    assert seen[0].log_quantity == pytest.approx(np.log(8.0))
    assert len({one.day_id for one in seen}) == 5
    assert [msgspec.json.decode(value, type=Demand) for _, value, _ in records(path)] == seen
    assert next((key, at) for key, _, at in records(path)) == (b"10001", day(0, 7).ts)


def test_forecasts_that_learn_nothing_know_the_days_before_alone() -> None:
    seen = [day(number, float(number + 1)) for number in range(8)]
    found = forecasts(seen)
    assert found["the same day of the week before"].tolist() == [0.0] * 7 + [1.0]
    assert found["the mean of four weeks"].tolist() == [0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]


def test_the_first_events_are_not_judged() -> None:
    seen = [day(number, 10.0) for number in range(10)]
    predicted = np.array([99.0, 99.0, *[12.0] * 7])
    assert mean_error(seen, predicted) == 2.0


def test_features_end_with_the_day_before_and_the_lags_are_of_one_day() -> None:
    (table,) = pipeline.plan.tables
    assert {"sold_1d", "usual_91d", "week_ago_1d", "fortnight_ago_1d"} <= set(table.columns)
    assert list(pipeline_with(NoFeatures).encoder.layout.dense) == ["never"]


def test_the_comparison_is_printed_and_features_tell_what_rises_and_falls(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten products, whose level changes every two months."""
    lines = [
        line(f"{10000 + product}", level, f"{MONDAY + timedelta(days=number):%Y-%m-%d} 09:00:00")
        for number in range(330)
        for product in range(10)
        for level in [3 + 30 * ((number // 60 + product) % 2)]
    ]
    main(written(tmp_path, lines))
    told = capsys.readouterr().out.splitlines()
    printed = dict(one.split(": mean absolute error ") for one in told)
    assert len(printed) == 4
    assert float(printed["with features"]) < 0.6 * float(printed["product and day of the week"])


def test_the_file_has_one_pipeline_to_replay() -> None:
    assert PipelineFile.read(Path(retail.__file__)).load().name == "retail"
