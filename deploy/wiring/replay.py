"""Recorded events through a pipeline in event time, in one process: features, learning, quality."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from freshrank.actors.errors import ConfigError
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.history import History
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.lock_step import BATCH_EVENTS
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog

# Records that are appended to the log at once: as many as a deterministic batch has.
CHUNK_RECORDS = BATCH_EVENTS

# The reference copy of the weights is frozen after this share of the records.
FREEZE_SHARE = 0.2

# Chunks between two checkpoints of the learner: after one, shards drop the examples it contains.
_CHECKPOINT_CHUNKS = 500


class EventClock:
    """A clock whose time is that of the newest event played; waiting takes real time."""

    def __init__(self) -> None:
        self.event_ms = 0

    def now_ms(self) -> int:
        """Event time of the newest event, in ms since the Unix epoch."""
        return self.event_ms

    def monotonic(self) -> float:
        """Real seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait for real seconds."""
        await asyncio.sleep(seconds)


async def replay(
    pipeline: Pipeline,
    history: History,
    *,
    speed_up: float | None = None,
    advanced: Callable[[int], None] = lambda records: None,
) -> Mapping[str, JsonValue]:
    """Play all of `history`; returns the learner's metrics and the counts of unusable records.

    Each chunk is scored by the weights that all earlier chunks gave, then learned from.

    With `speed_up`, so many seconds of event time pass in one second of real time; without, it
    runs as fast as it can. `advanced` is called with the number of records played so far. Raises
    ConfigError when none of the records could be used.
    """
    clock = EventClock()
    world = World(MemoryLog(partitions=1), clock)  # one partition keeps the order of the history
    system = LocalSystem(pipeline, _settings(), world)
    await system.start()
    pace = _Pace(history, speed_up)
    freeze_at = int(len(history) * FREEZE_SHARE)
    frozen = False
    for number, begin in enumerate(range(0, len(history), CHUNK_RECORDS)):
        end = min(begin + CHUNK_RECORDS, len(history))
        await pace.wait_for(end - 1)
        clock.event_ms = int(history.times_ms[end - 1])
        times_ms = history.times_ms[begin:end]
        world.log.extend(pipeline.stream.topic, 0, history.values[begin:end], times_ms)
        await system.drain()
        if not frozen and end >= freeze_at:
            await system.freeze()
            frozen = True
        if number % _CHECKPOINT_CHUNKS == 0:
            await system.learner.save()
        advanced(end)
    metrics = await system.status()
    await system.stop()
    return {**metrics, **_rejected(system, len(history))}


def frozen_after(records: int) -> int:
    """Count the records that are played before the reference copy is frozen: whole chunks.

    >>> frozen_after(1_000)
    256
    """
    chunks = -(-int(records * FREEZE_SHARE) // CHUNK_RECORDS)
    return min(max(chunks, 1) * CHUNK_RECORDS, records)


def _rejected(system: LocalSystem, records: int) -> dict[str, JsonValue]:
    """Count dead and late records. Raises ConfigError, with one reason, if all are dead."""
    topic = system.pipeline.stream.topic
    dead = [record for where, record in system.sink.rejected if where == f"{topic}.dead"]
    if len(dead) == records:
        raise ConfigError(
            f"record {dead[0].offset} of records",
            f"its value is no event of {topic!r}, and no other is: {dead[0].reason}",
            "Yield the JSON of an event as the stream's schema has it.",
        )
    return {"dead": len(dead), "late": len(system.sink.rejected) - len(dead)}


class _Pace:
    """Delays chunks until their event time is due."""

    def __init__(self, history: History, speed_up: float | None) -> None:
        self._times_ms = history.times_ms
        self._speed_up = speed_up
        self._began = time.monotonic()

    async def wait_for(self, record: int) -> None:
        if self._speed_up is None:
            return
        passed_ms = float(self._times_ms[record] - self._times_ms[0])
        due = self._began + passed_ms / 1000.0 / self._speed_up
        await asyncio.sleep(max(0.0, due - time.monotonic()))


def _settings() -> Settings:
    """One shard, and snapshots once an hour: no crash will ask for one."""
    return Settings.model_validate({"shards": {"count": 1, "snapshot_interval_s": 3600.0}})
