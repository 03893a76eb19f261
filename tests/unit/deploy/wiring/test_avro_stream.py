"""A system whose events are Avro learns what the same system learns from JSON."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
from fake_clock import FakeClock

from freshrank import Avro, Pipeline
from freshrank.actors.errors import BadRecord
from freshrank.benchmarks.crashes.recorded_stream import (
    PARTITIONS,
    ShortTermActivity,
    recorded_log,
    recorded_pipeline,
    stream,
)
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.streams.codec import Codec
from freshrank.serve.entities.entity_features import entity_features

TYPES = {"id": "string", "user": "string", "item": "long", "kind": "string"}
FIELDS = TYPES | {"price": "double", "ts": "long"}


def record(name: str, types: dict[str, Any]) -> dict[str, Any]:
    fields = [{"name": one, "type": kind} for one, kind in types.items()]
    return {"type": "record", "name": name, "fields": fields}


BASKET = {"type": "array", "items": record("Line", {"item": "long", "price": "double"})}
SCHEMA = record("Event", FIELDS | {"basket": BASKET})
avro_stream = replace(stream, format=Avro(SCHEMA, schema_id=1))


def avro_pipeline() -> Pipeline:
    """The pipeline of the recorded log, over a topic of Avro."""

    class Activity(ShortTermActivity):
        source = avro_stream

    return replace(recorded_pipeline(), stream=avro_stream, streams=(), features=[Activity])


def in_avro(log: MemoryLog) -> MemoryLog:
    """The same log, with events in Avro; what is no event stays."""
    codec, found = Codec(avro_stream), MemoryLog(PARTITIONS)
    for topic in recorded_pipeline().topics:
        for partition in range(PARTITIONS):
            batch = log.read(topic, partition, 0, 100_000)
            stamps = batch.timestamps_ms.tolist()
            for key, value, stamp_ms in zip(batch.keys, batch.values, stamps, strict=True):
                written = value
                if topic == stream.topic and value is not None:
                    try:
                        written = codec.record(value, stamp_ms)[1]
                    except BadRecord:
                        written = value
                found.append(topic, partition, written, stamp_ms, key)
    return found


async def learned(pipeline: Pipeline, log: MemoryLog) -> tuple[str | None, int]:
    """The checksum of the weights that the whole log leads to, and the records rejected."""
    system = LocalSystem(pipeline, Settings(), World(log, FakeClock()))
    await system.start()
    await system.drain()
    newest = (await system.learner.newer_than(None, 0.0))[-1]
    dead = sum(state.counters.dead for shard in system.shards for state in shard.states.values())
    return newest.checksum, dead


def test_the_format_of_the_records_changes_no_weight() -> None:
    log = recorded_log(recorded_pipeline(), seconds=60)
    assert avro_pipeline().made_for.fingerprint == recorded_pipeline().made_for.fingerprint
    wanted = asyncio.run(learned(recorded_pipeline(), log))
    assert wanted[1] > 0
    assert asyncio.run(learned(avro_pipeline(), in_avro(log))) == wanted


def test_an_event_posted_as_json_is_scored_with_after_its_way_through_an_avro_topic() -> None:
    async def story() -> None:
        log, clock = MemoryLog(PARTITIONS), FakeClock()
        system = LocalSystem(avro_pipeline(), Settings(), World(log, clock))
        await system.start()
        event: dict[str, Any] = {"id": "e1", "user": "ann", "item": 3, "kind": "view", "price": 1.0}
        event["ts"] = clock.now_ms()
        posted = await system.replica.events.write(msgspec.json.encode(event), stream.topic)
        (position,) = posted.positions
        value = log.read(stream.topic, position.partition, 0, 1).values[0]
        assert value is not None and value.startswith(b"\0\0\0\0\x01\x04e1")
        await system.drain()
        answered = await entity_features(system.replica, "user", "ann")
        assert (answered.source, answered.event_time_ms) == ("online", event["ts"])
        await system.stop()

    asyncio.run(story())
