"""`freshrank experiment report` and `training-set` of a log in a real Apache Kafka."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from command_line import call
from tried_songs import PIPELINE, records

from freshrank import get_training_set
from freshrank.actors.clock import SystemClock
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.apache_kafka import ApacheKafka
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.state.folders import KAFKA
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics

USERS = 60


async def write(kafka: KafkaAccess, pipeline: Pipeline) -> int:
    """Write the log of the pipeline; returns how many songs were liked."""
    await ensure_topics(kafka, [pipeline.stream.topic, pipeline.impressions_topic], 3)
    sink, likes = KafkaSink(kafka), 0
    await sink.start()
    try:
        for topic, key, value, _ in records(pipeline, SystemClock().now_ms(), USERS):
            await sink.send(topic, key, value)
            likes += topic == pipeline.stream.topic
    finally:
        await sink.stop()
    return likes


def test_a_log_in_kafka_is_reported_and_gives_a_training_set(
    kafka: Broker,
    fresh_name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, out = tmp_path / "songs.py", tmp_path / "report.json"
    named = PIPELINE.replace('"songs"', f'"{fresh_name}"')
    file.write_text(named.replace('"plays"', f'"{fresh_name}.plays"'))
    monkeypatch.setenv("FRESHRANK_STATE", str(tmp_path / "state"))
    likes = asyncio.run(write(KafkaAccess(kafka.bootstrap), PipelineFile.read(file).load()))
    code, said = call(
        ["experiment", "report", str(file), "--kafka", kafka.bootstrap, "--json", str(out)],
        capsys,
        monkeypatch,
    )
    assert code == 0, said
    found = json.loads(out.read_text())
    assert (found["impressions"], found["rejected"]) == (USERS, 0)
    arms = found["experiments"][0]["arms"]
    assert [arm["users"] for arm in arms] == [USERS // 2, USERS // 2]
    assert sum(arm["clicks"] for arm in arms) == likes > 10
    rows = tmp_path / "rows.parquet"
    command = ["training-set", str(file), "--kafka", kafka.bootstrap, "--out", str(rows)]
    code, said = call(command, capsys, monkeypatch)
    assert code == 0, said
    written = pyarrow.parquet.read_table(rows)
    assert written.num_rows == 2 * USERS
    assert written["label"].to_pylist().count(1) == likes, "as the report counts them"
    table = get_training_set(PipelineFile.read(file).load(), kafka.bootstrap)
    assert table.to_pylist() == written.to_pylist()


def test_an_apache_kafka_of_ours_is_found_while_it_runs_and_started_when_it_does_not(
    kafka_available_here: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, out = tmp_path / "songs.py", tmp_path / "report.json"
    file.write_text(PIPELINE)
    monkeypatch.setenv("FRESHRANK_STATE", str(tmp_path / "state"))
    pipeline = PipelineFile.read(file).load()
    command = ["experiment", "report", str(file), "--kafka", "apache", "--json", str(out)]
    folder = Settings(state=tmp_path / "state").state_folder(pipeline.name) / KAFKA
    with ApacheKafka(folder) as broker:
        asyncio.run(write(KafkaAccess(broker.bootstrap, broker.security), pipeline))
        for _ in range(2):
            assert call(command, capsys, monkeypatch)[0] == 0
            assert json.loads(out.read_text())["impressions"] == USERS
            out.unlink()
            broker.stop()  # the second time it is started for the report
