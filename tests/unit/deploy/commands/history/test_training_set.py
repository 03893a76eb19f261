"""`freshrank training-set`: what it writes and says, over a log in memory."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from command_line import call
from tried_songs import PIPELINE, records

from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.served import topics
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRESHRANK_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    found = tmp_path / "songs.py"
    found.write_text(PIPELINE)
    log = MemoryLog(2)
    for topic, key, value, at_ms in records(PipelineFile.read(found).load(), 1_700_000_000_000):
        log.distribute(topic, [key], [value], np.array([at_ms]))
    log.distribute("songs.impressions", [b"u1"], [b"none"], np.array([1_700_000_001_000]))

    async def partition_count(kafka: object, topic: str) -> int:
        return log.partitions_of(topic)

    monkeypatch.setattr(topics, "partition_count", partition_count)
    monkeypatch.setattr(topics, "source_of", lambda kafka: partial(MemorySource, log))
    return found


def test_rows_are_written_and_what_is_left_out_is_said(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = file.parent / "rows.csv"
    command = ["training-set", str(file), "--kafka", "broker:9092", "--out", str(out)]
    status, said = call(command, capsys, monkeypatch)
    assert status == 0
    with out.open(newline="") as written:
        rows = list(csv.DictReader(written))
    positives = sum(row["label"] == "1" for row in rows)
    assert positives > 100
    assert {row["arm.explore"] for row in rows} == {"control", "epsilon"}
    assert f"rows.csv: 800 rows ({positives} positive, 0 negative, {800 - positives} open)" in said
    assert "warning: 1 impressions are left out: 1 that cannot be read" in said


def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_read(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["training-set", str(file), "--kafka", "broker:9092", "--out", "rows.xlsx"]
    status, said = call(command, capsys, monkeypatch)
    assert status == 2
    assert "rows.xlsx: its format is not known here" in said
