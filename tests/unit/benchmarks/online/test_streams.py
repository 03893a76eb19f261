from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from freshrank.benchmarks.online.bench import streams_of
from freshrank.benchmarks.online.drifting import drifting
from freshrank.benchmarks.online.real_streams import FRAUD_BEGINS, criteo, fraud, jd, movielens
from freshrank.benchmarks.online.stream_file import (
    LabelledStream,
    RawInputs,
    read_stream,
    write_stream,
)
from freshrank.benchmarks.quality.criteo_data import CATEGORIES, COUNTS


def test_a_stream_is_read_as_it_was_written(tmp_path: Path) -> None:
    rows: list[RawInputs] = [{"x": 1.5, "shop": "a b"}, {"shop": "c"}]
    stream = LabelledStream("shops", "class", ["no", "yes"], rows, np.array([1, 0], np.float32))
    found = read_stream(write_stream(stream, tmp_path))
    assert (found.name, found.kind, found.classes) == ("shops", "class", ["no", "yes"])
    assert list(found.rows) == rows
    assert found.labels.tolist() == [1.0, 0.0]
    assert [len(one) for one in (found.first(1).rows, found.first(1).labels)] == [1, 1]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text('{"kind": "ranks", "classes": []}\n', encoding="utf-8")
    with pytest.raises(msgspec.ValidationError, match="ranks"):
        read_stream(path)


def test_streams_are_those_of_the_folder_and_the_generated_one(tmp_path: Path) -> None:
    write_stream(drifting(40), tmp_path)
    (tmp_path / "drifting.jsonl").rename(tmp_path / "other.jsonl")
    found = list(streams_of(tmp_path, None, 20))
    assert [(stream.name, len(stream.rows)) for stream in found] == [
        ("other", 20),
        ("drifting", 20),
    ]


def test_the_tastes_of_the_drifting_stream_turn() -> None:
    stream = drifting(8_000)
    first = np.array([float(row["a"]) for row in stream.rows])
    of_part = [
        np.corrcoef(first[begin : begin + 2_000], stream.labels[begin : begin + 2_000])[0, 1]
        for begin in range(0, 8_000, 2_000)
    ]
    assert of_part[0] > 0.3 > -0.3 > of_part[2]
    assert first[:2_000].mean() == pytest.approx(0.0, abs=0.1)
    assert first[2_000:4_000].mean() == pytest.approx(1.0, abs=0.1)


def test_rows_of_criteo_leave_out_what_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "ctr" / "criteo"
    folder.mkdir(parents=True)
    columns: dict[str, list[list[float]]] = {
        name: [[1.0], [2.0]] for name in (*COUNTS, *CATEGORIES)
    }
    columns |= {"label": [[0.0], [1.0]], "i3": [[], [7.0]], "c5": [[4.0], []]}
    for number in range(2):
        pyarrow.orc.write_table(pa.table(columns), folder / f"part-{number}.orc")
    stream = criteo(tmp_path, 3)
    assert stream.labels.tolist() == [0.0, 1.0, 0.0]
    assert "i3" not in stream.rows[0]
    assert (stream.rows[1]["i3"], stream.rows[0]["c5"]) == (7.0, "4")
    assert "c5" not in stream.rows[1]


def test_actions_of_jd_are_in_the_order_of_time_without_those_that_are_not_predicted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "clickstream" / "jd"
    folder.mkdir(parents=True)
    hour_ms = 3_600_000
    columns = {
        "time": [2 * hour_ms, hour_ms, 3 * hour_ms],
        "pair_id": ["7_3", "8_4", "9_5"],
        "type": ["2", "1", "3"],
        "cate": ["1", "2", "3"],
        "br": ["4", "5", "6"],
    }
    pyarrow.parquet.write_table(pa.table(columns), folder / "bo_action.parquet")
    stream = jd(tmp_path, 10)
    assert stream.labels.tolist() == [0.0, 1.0]
    assert [row["user"] for row in stream.rows] == ["8", "7"]
    assert stream.rows[1] == {"user": "7", "sku": "3", "category": "1", "brand": "4", "hour": 2.0}
    assert stream.times_s is not None
    assert stream.times_s.tolist() == [3_600.0, 7_200.0]


def test_ratings_are_in_the_order_of_time_with_what_is_known_of_user_and_item(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "ratings" / "ml-100k"
    folder.mkdir(parents=True)
    texts = {
        "user": "user_id:token\tage:token\tgender:token\toccupation:token\n1\t24\tM\twriter\n",
        "item": "item_id:token\trelease_year:token\n5\t1995\n6\tunknown\n",
        "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1\t5\t3\t20\n1\t6\t4\t10\n",
    }
    for name, text in texts.items():
        (folder / f"ml-100k.{name}").write_text(text, encoding="utf-8")
    stream = movielens(tmp_path, 10)
    assert stream.labels.tolist() == [1.0, 0.0]
    assert [row["item"] for row in stream.rows] == ["6", "5"]
    assert stream.times_s is not None
    assert stream.times_s.tolist() == [10.0, 20.0]
    assert stream.first(1).times_s == [10.0]
    assert stream.rows[1]["year"] == 1995.0
    assert "year" not in stream.rows[0]


def test_transactions_begin_where_the_handbook_begins_to_train(tmp_path: Path) -> None:
    (tmp_path / "fraud").mkdir()
    times = [FRAUD_BEGINS - timedelta(days=1), FRAUD_BEGINS, FRAUD_BEGINS + timedelta(hours=5)]
    columns = {
        "TX_DATETIME": pa.array(times, pa.timestamp("ms")),
        "CUSTOMER_ID": [1, 2, 3],
        "TERMINAL_ID": [4, 5, 6],
        "TX_AMOUNT": [1.0, 2.0, 3.0],
        "TX_FRAUD": [1, 0, 1],
    }
    path = tmp_path / "fraud" / "handbook_simulated_tx_2018.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    stream = fraud(tmp_path, 10)
    assert stream.labels.tolist() == [0.0, 1.0]
    weekday = str(datetime(2018, 7, 25).weekday())  # noqa: DTZ001
    assert stream.rows[1] == {
        "customer": "3", "terminal": "6", "amount": 3.0, "hour": 5.0, "weekday": weekday,
    }  # fmt: skip
