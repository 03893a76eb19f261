"""`freshrank features`: what it writes, what it says, and what it leaves behind."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
from command_line import call
from mistakes import RIGHT

START_MS = 1_700_000_000_000
PLAY = {
    "play_id": "p1", "listener": "ann", "song": "x", "genre": "y", "kind": "finish",
    "seconds": 1.5, "at": START_MS,
}  # fmt: skip
ROWS = f"listener,time,label\nann,{START_MS - 1},0\n007,{START_MS + 5},1\nann,{START_MS + 5},1\n"


class Command:
    """`freshrank features` in a folder with a pipeline, a history and rows."""

    def __init__(self, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._patch = patch
        Path("songs.py").write_text(RIGHT)
        Path("rows.csv").write_text(ROWS)
        plays = [PLAY, PLAY | {"play_id": "p2", "listener": "bob", "at": START_MS + 1}]
        Path("plays.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, plays)))

    def __call__(self, *options: str, out: str = "out.parquet") -> tuple[object, str]:
        """Exit status, and what was said."""
        arguments = ["features", "songs.py", "plays.jsonl", "--out", out, *options]
        return call(arguments, self._capsys, self._patch)


@pytest.fixture
def command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Command(capsys, monkeypatch)


def left_over() -> Sequence[str]:
    known = {"songs.py", "rows.csv", "plays.jsonl"}
    return sorted(one.name for one in Path().iterdir() if one.name not in known)


def test_rows_get_the_features_of_their_times_in_their_order(command: Command) -> None:
    status, said = command("--rows", "rows.csv")
    assert status == 0
    assert "out.parquet: 3 rows of 8 columns, from 2 records in" in said
    rows = pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert [(row["listener"], row["label"]) for row in rows] == [("ann", 0), ("007", 1), ("ann", 1)]
    assert [row["listened_1h"] for row in rows] == [0, 0, 1.5]
    assert [len(row["recent"]) for row in rows] == [0, 0, 1]
    assert left_over() == ["out.parquet"]


def test_it_writes_csv_and_json_lines_too(command: Command) -> None:
    for name in ("out.csv", "out.jsonl"):
        assert command("--rows", "rows.csv", "--columns", "recent, listened_1h", out=name)[0] == 0
    with Path("out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [msgspec.json.decode(line) for line in Path("out.jsonl").read_bytes().splitlines()]
    assert list(rows[0]) == ["listener", "time", "label", "listened_1h", "recent"] == list(lines[0])
    assert [row["listened_1h"] for row in rows] == ["0.0", "0.0", "1.5"]
    assert [msgspec.json.decode(row["recent"]) for row in rows] == [row["recent"] for row in lines]


def test_all_entities_as_of_a_time(command: Command) -> None:
    assert command("--at", "2023-11-14T22:13:20Z", "--columns", "listened_1h")[0] == 0
    (row,) = pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert (row["listener"], row["listened_1h"]) == ("ann", 1.5)
    assert row["time"].timestamp() * 1000 == START_MS
    assert command("--at", str(START_MS + 1))[0] == 0
    assert pyarrow.parquet.read_table("out.parquet")["listener"].to_pylist() == ["ann", "bob"]


def test_a_pipeline_s_own_reader_reads_what_names_no_topic(command: Command) -> None:
    Path("songs.py").write_text(
        f"{RIGHT}\n\ndef records(path):\n"
        "    for line in path.read_bytes().splitlines():\n"
        f"        yield b'ann', line, {START_MS + 3}\n"
    )
    assert command("--rows", "rows.csv")[0] == 0
    found = pyarrow.parquet.read_table("out.parquet")["listened_1h"].to_pylist()
    assert found == [0, 0, 1.5]
    assert command("--at", str(START_MS + 2))[0] == 0
    assert pyarrow.parquet.read_table("out.parquet").num_rows == 0


@pytest.mark.parametrize(
    ("options", "out", "said"),
    [
        ([], "out.csv", "--rows, --at: one of them says what is asked for"),
        (["--rows", "rows.csv", "--at", "5"], "out.csv", "--rows, --at"),
        (["--rows", "rows.csv", "--entity", "listener"], "out.csv", "--entity: rows name"),
        (["--at", "yesterday"], "out.csv", "'yesterday' is no time of ISO 8601"),
        (["--at", str(START_MS), "--entity", "lstener"], "out.csv", "Did you mean 'listener'?"),
        (["--rows", "rows.csv", "--columns", "idel"], "out.csv", "there is no feature 'idel'"),
        (["--rows", "none.csv"], "out.csv", "none.csv: cannot be read"),
        (["--rows", "rows.csv"], "out.xls", "out.xls: its format is not known here"),
        (["--rows", "rows.csv"], "none/out.csv", "none/out.csv: no file can be written there"),
    ],
)
def test_mistakes_are_one_line_before_the_work(
    options: list[str], out: str, said: str, command: Command
) -> None:
    status, shown = command(*options, out=out)
    assert status == 2
    assert said in shown
    assert "Traceback" not in shown
    assert left_over() == []


def test_an_interrupted_write_leaves_the_old_file_alone(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.csv").write_text("old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupt)
    assert command("--rows", "rows.csv", out="out.csv")[0] != 0
    assert Path("out.csv").read_text() == "old"
    assert left_over() == ["out.csv"]


def test_parquet_without_pyarrow_says_what_to_install(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.csv", None)
    status, said = command("--rows", "rows.csv")
    assert status == 2
    assert "pip install 'freshrank[history]'" in said
