"""`freshrank backfill` with a real Kafka: its shards go on with what came after the history."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiokafka
import msgspec
import pytest
from mistakes import RIGHT
from typer.testing import CliRunner

from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.deploy import cli
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.brokers import Broker
from freshrank.deploy.state.state_folder import SHARDS
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import ensure_topics, next_offsets
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import recover

PARTITIONS = 3
LISTENERS = ("ann", "bob", "cid", "dan")


def play(number: int, at_ms: int) -> bytes:
    who = LISTENERS[number % len(LISTENERS)]
    return msgspec.json.encode(
        {"play_id": f"p{number}", "listener": who, "song": "x", "genre": "y", "kind": "finish",
         "seconds": 1.0, "at": at_ms}
    )  # fmt: skip


async def produce(kafka: KafkaAccess, topic: str, count: int) -> list[int]:
    """Write plays, each when the broker's clock has moved on; gives the times of its stamps."""
    producer, stamps = aiokafka.AIOKafkaProducer(**kafka.arguments()), list[int]()
    await producer.start()
    try:
        for number in range(count):
            key = LISTENERS[number % len(LISTENERS)].encode()
            # Of 1970, so that only the stamps of the broker can tell where to go on.
            value = play(number, 1_000)
            sent = await producer.send(topic, value, key, timestamp_ms=1_000)
            stamps.append((await sent).timestamp or 0)
            await asyncio.sleep(0.005)
    finally:
        await producer.stop()
    return stamps


async def read_on(pipeline: Pipeline, kafka: KafkaAccess, folder: Path) -> list[PartitionState]:
    """The partitions' states when their topic is read from where their snapshots end."""
    spec, snapshots = pipeline.spec(Settings().shards), FileSnapshots(folder / SHARDS)
    states = [recover(spec, one, snapshots, None, PARTITIONS).state for one in range(PARTITIONS)]
    topic, source = pipeline.stream.topic, KafkaSource(kafka)
    await source.start({(topic, one.partition): one.offsets[topic] for one in states})
    try:
        while any((await source.lag()).values()):
            for batch in await source.poll(1_000, 0.1):
                states[batch.partition].process(batch)
    finally:
        await source.stop()
    return states


@pytest.mark.parametrize(("begin", "read"), [("history", 5), ("end", 0), ("beginning", 20)])
def test_shards_go_on_where_they_are_told(
    begin: str, read: int, kafka: Broker, fresh_name: str, tmp_path: Path
) -> None:
    access = KafkaAccess(kafka.bootstrap, kafka.security)
    topic = f"plays-{fresh_name}"
    text = RIGHT.replace('Stream("plays"', f'Stream("{topic}"').replace(
        '"songs"', f'"songs-{topic.rpartition("-")[2]}"'
    )
    (tmp_path / "songs.py").write_text(text)
    asyncio.run(ensure_topics(access, [topic], PARTITIONS))
    stamps = asyncio.run(produce(access, topic, 20))
    # The history ends with the sixteenth record: that and the four after it are read.
    lines = [play(100 + number, stamps[number]) for number in range(16)]
    (tmp_path / "plays.jsonl").write_bytes(b"\n".join(lines))
    state, arguments = tmp_path / "state", [tmp_path / "songs.py", tmp_path / "plays.jsonl"]
    result = CliRunner().invoke(
        cli.app,
        ["backfill", *map(str, arguments), "--kafka", kafka.bootstrap, "--from", begin],
        env={"FRESHRANK_STATE": str(state)},
    )
    assert result.exit_code == 0, result.output
    pipeline = PipelineFile.read(tmp_path / "songs.py").load()
    states = asyncio.run(read_on(pipeline, access, state))
    counts = [one.counters.events + one.counters.late for one in states]
    assert sum(counts) == 16 + read
    ends = asyncio.run(next_offsets(access, [topic], None))
    assert [one.offsets[topic] for one in states] == ends[topic]
