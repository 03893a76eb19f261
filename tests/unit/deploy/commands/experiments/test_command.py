"""`freshrank experiment report`, over a log in memory."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from command_line import call
from rich.console import Console
from tried_songs import PIPELINE, records

from freshrank.actors.errors import Unavailable
from freshrank.actors.records import TopicIdentity
from freshrank.actors.snapshots.disk import Disk
from freshrank.deploy import cli
from freshrank.deploy.commands.experiments.tables import tables_of
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.experiments.report import PipelineReport
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.served import topics
from freshrank.deploy.state import state_id
from freshrank.deploy.state.record_files import topics_record
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRESHRANK_STATE", str(tmp_path / "state"))
    found = tmp_path / "songs.py"
    found.write_text(PIPELINE)
    return found


def filled(file: Path) -> MemoryLog:
    log = MemoryLog(2)
    for topic, key, value, at_ms in records(PipelineFile.read(file).load(), 1_700_000_000_000):
        log.distribute(topic, [key], [value], np.array([at_ms]))
    return log


@pytest.fixture
def log(file: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    found = filled(file)

    async def partition_count(kafka: object, topic: str) -> int:
        return found.partitions_of(topic)

    monkeypatch.setattr(topics, "partition_count", partition_count)
    monkeypatch.setattr(topics, "source_of", lambda kafka: partial(MemorySource, found))
    return found


def test_a_report_is_shown_and_written(
    file: Path,
    log: MemoryLog,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = file.parent / "report.json"
    arguments = ["experiment", "report", str(file), "--kafka", "broker:9092", "--json", str(out)]
    monkeypatch.setattr("sys.argv", ["freshrank", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "songs: 400 impressions, and 0 that cannot be used" in shown
    assert "control (50%)" in shown
    assert "epsilon (50%)" in shown
    found = json.loads(out.read_text())
    (experiment,) = found["experiments"]
    control, epsilon = experiment["arms"]
    assert [control["users"], epsilon["lists"], epsilon["items"]] == [200, 200, 400]
    value, low, high = epsilon["rate"]
    assert 0 < low < value < high < 1
    assert epsilon["compared"]["difference"][1] < 0 < epsilon["compared"]["difference"][2]
    assert control["compared"] is None
    assert msgspec.json.decode(out.read_bytes(), type=PipelineReport).pipeline == "songs"


@pytest.mark.parametrize(
    ("change", "kafka", "says"),
    [
        (("    experiments=", "    samples={}) or dict(experiments="), "b:1", "there is none"),
        (("", ""), "embedded", "an embedded broker ends with its run"),
        (("", ""), "apache", "no Apache Kafka has kept records there"),
    ],
)
def test_where_there_is_nothing_to_report_on_the_fix_is_named(
    change: tuple[str, str],
    kafka: str,
    says: str,
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file.write_text(PIPELINE.replace(*change, 1))
    code, shown = call(["experiment", "report", str(file), "--kafka", kafka], capsys, monkeypatch)
    assert code == 2
    assert says in shown


def test_a_broker_that_does_not_answer_is_named(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(kafka: object, topic: str) -> int:
        raise Unavailable("kafka", "connection refused")

    monkeypatch.setattr(topics, "partition_count", away)
    code, shown = call(["experiment", "report", str(file), "--kafka", "b:1"], capsys, monkeypatch)
    assert code == 2
    assert "connection refused" in shown


def test_topics_of_different_numbers_of_partitions_are_refused(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(kafka: object, topic: str) -> int:
        return len(topic)

    monkeypatch.setattr(topics, "partition_count", count)
    code, shown = call(["experiment", "report", str(file), "--kafka", "b:1"], capsys, monkeypatch)
    assert code == 2
    assert "it has 17 partitions and 'plays' has 5" in shown


def test_a_broker_that_does_not_answer_may_want_a_login(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(kafka: object, topic: str) -> int:
        raise Unavailable("kafka", "the connection was closed")

    monkeypatch.setattr(topics, "partition_count", count)
    code, shown = call(["experiment", "report", str(file), "--kafka", "b:1"], capsys, monkeypatch)
    assert code == 2
    assert "the connection was closed" in shown
    assert "If it wants a login or TLS" in shown and "kafka.password_file" in shown


def test_a_stream_that_is_copied_needs_the_state_of_its_run(
    file: Path, log: MemoryLog, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(PIPELINE.replace('time="ts",', 'time="ts", partitioner="any",'))
    arguments = ["experiment", "report", str(file), "--kafka", "b:1"]
    code, shown = call(arguments, capsys, monkeypatch)
    assert code == 2
    assert "the copies of records of 'plays' belong to the state of a run" in shown
    folder, read = make_folder(file.parent / "state"), {"plays": TopicIdentity("a", 2)}
    state_id.RECORD.write(folder, "a state", Disk())
    assert call(arguments, capsys, monkeypatch)[0] == 2, "copies tell the topics, too"
    topics_record.RECORD.write(folder, read, Disk())
    assert call(arguments, capsys, monkeypatch)[0] == 0
    pipeline = PipelineFile.read(file).load()
    settings = Settings(state=folder)
    found = topics.served_log(pipeline, settings, KafkaAccess("b:1"))
    assert found.state == state_id.origin_of(read, "a state")


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_tables_show_every_part() -> None:
    estimate = {"value": 0.1, "low": 0.05, "high": 0.15}
    numbers = list(estimate.values())
    arm = {
        "arm": "a", "share": 0.5, "users": 1, "lists": 2, "items": 3, "clicks": 4, "rate": None,
        "design_effect": None, "compared": None, "off_policy": None,
    }  # fmt: skip
    explores = arm | {
        "arm": "b",
        "rate": numbers,
        "design_effect": 1.5,
        "compared": {"difference": numbers, "p_value": 0.01},
        "off_policy": {
            "positions": 10, "lists": 2, "effective_lists": 1.5, "logged": numbers,
            "ips": numbers, "snips": None, "dr": numbers,
        },
    }  # fmt: skip
    made = msgspec.convert(
        {
            "pipeline": "songs", "confidence": 0.95, "impressions": 5, "rejected": 1, "waiting": 2,
            "experiments": [
                {
                    "experiment": "e",
                    "arms": [arm, explores, arm | {"arm": "c", "too_few": "29 of 30"}],
                    "shares_p_value": 0.001, "warnings": ["look out"],
                }
            ],
        },
        PipelineReport,
    )  # fmt: skip
    console = Console(width=200, record=True)
    for part in tables_of(made):
        console.print(part)
    text = console.export_text()
    for wanted in (
        "too few, see below", "'c' is not compared: 29 of 30",
        "10.00 % (5.00 to 15.00)", "+10.00 % (+5.00 to +15.00)", "1.50",
        "clicks of a list's first 10", "0.1000 (0.0500 to 0.1500)", "warning: look out",
    ):  # fmt: skip
        assert wanted in text
