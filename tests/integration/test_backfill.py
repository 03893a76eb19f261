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
from freshrank.deploy.state.folders import SHARDS
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


async def rows_in(kafka: KafkaAccess, topic: str) -> dict[str, object]:
    """By key: the row of the latest record of a table's topic; None: a tombstone."""
    source, found = KafkaSource(kafka), dict[str, object]()
    await source.start(dict.fromkeys((topic, number) for number in range(PARTITIONS)))
    try:
        while any((await source.lag()).values()):
            for batch in await source.poll(1_000, 0.1):
                for key, value in zip(batch.keys, batch.values, strict=True):
                    row = None if value is None else msgspec.json.decode(value)
                    found[(key or b"").decode()] = row
    finally:
        await source.stop()
    return found


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


CATALOGUE = """

class Song(msgspec.Struct):
    song: str
    mood: str | None = None


songs = Table("SONGS", key=Entity("song", key="song"), schema=Song)
"""


def test_items_of_a_history_are_in_the_topic_that_replicas_read(
    kafka: Broker, fresh_name: str, tmp_path: Path
) -> None:
    access = KafkaAccess(kafka.bootstrap, kafka.security)
    plays, songs = f"plays-{fresh_name}", f"songs-{fresh_name}"
    text = RIGHT.replace('Stream("plays"', f'Stream("{plays}"')
    text = text.replace('"songs"', f'"shop-{fresh_name}"').replace("col,", "col, Newest, Table,", 1)
    text = text.replace(
        "\n\nclass Listening", CATALOGUE.replace("SONGS", songs) + "\n\nclass Listening"
    )
    text = text.replace('["song", "genre"]', '["song", songs.mood]')
    text = text.replace(
        "    features=", "    tables=[songs],\n    candidates=[Newest()],\n    features="
    )
    (tmp_path / "shop.py").write_text(text)
    asyncio.run(ensure_topics(access, [songs], PARTITIONS, compacted=True))
    asyncio.run(ensure_topics(access, [plays], PARTITIONS))

    async def write(records: dict[str, bytes | None]) -> None:
        producer = aiokafka.AIOKafkaProducer(**access.arguments())
        await producer.start()
        try:
            for key, value in records.items():
                await (await producer.send(songs, value, key.encode()))
        finally:
            await producer.stop()

    asyncio.run(write({"s1": b'{"song":"s1","mood":"live"}', "s2": None}))
    (tmp_path / "plays.jsonl").write_bytes(play(1, 1_700_000_000_000))
    rows = [{"song": f"s{number}", "mood": "old"} for number in range(300)]
    (tmp_path / "songs.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, rows)))
    files = [f"{plays}={tmp_path / 'plays.jsonl'}", f"{songs}={tmp_path / 'songs.jsonl'}"]
    result = CliRunner().invoke(
        cli.app,
        ["backfill", str(tmp_path / "shop.py"), *files, "--kafka", kafka.bootstrap],
        env={"FRESHRANK_STATE": str(tmp_path / "state")},
    )
    assert result.exit_code == 0, result.output
    wanted: dict[str, object] = {str(row["song"]): row for row in rows}
    wanted |= {"s1": {"song": "s1", "mood": "live"}, "s2": None}
    assert asyncio.run(rows_in(access, songs)) == wanted
