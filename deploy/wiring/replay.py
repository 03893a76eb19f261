"""Replays recorded events through a pipeline, in event time and in a single process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Ints
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.history import History
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.lock_step import BATCH_EVENTS
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.streams.origin import Origin, generation_of, with_origin
from freshrank.feature_actors.streams.stream import Stream

# Records that are appended to the log at once: the size of a deterministic batch.
CHUNK_RECORDS = BATCH_EVENTS

# Share of the records after which the reference copy of the weights is frozen.
FREEZE_SHARE = 0.2

# Chunks between two checkpoints of the learner. After a checkpoint the shards drop its examples,
# which bounds their memory.
_CHECKPOINT_CHUNKS = 500


class EventClock:
    """A clock that shows the time of the newest event played; its sleeps take real time."""

    def __init__(self) -> None:
        self.event_ms = 0

    def now_ms(self) -> int:
        """Return the time of the newest event, in ms since the Unix epoch."""
        return self.event_ms

    def monotonic(self) -> float:
        """Return real time, in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds` of real time."""
        await asyncio.sleep(seconds)


async def replay(
    pipeline: Pipeline,
    history: History,
    *,
    speed_up: float | None = None,
    advanced: Callable[[int], None] = lambda records: None,
) -> Mapping[str, JsonValue]:
    """Play `history`; return the learner's metrics, calibration, and counts of unused records.

    Weights that have learned all earlier chunks score each chunk before it is learned.

    `speed_up` is the number of seconds of event time in a second of real time; None plays as fast
    as possible. `advanced` is called with the number of records played so far. Raises ConfigError
    if all records are dead.
    """
    clock = EventClock()
    world = World(MemoryLog(partitions=1), clock)  # a single partition keeps the order
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
        values = _logged(pipeline.stream, history.values[begin:end], times_ms, begin)
        world.log.extend(pipeline.stream.log_topic, 0, values, times_ms)
        await system.drain()
        if not frozen and end >= freeze_at:
            await system.freeze()
            frozen = True
        if number % _CHECKPOINT_CHUNKS == 0:
            await system.learner.save()
        advanced(end)
    metrics = await system.status()
    await system.stop()
    return {**metrics, "calibration": _calibration(system), **_rejected(system, len(history))}


def frozen_after(records: int) -> int:
    """Return the number of records, in whole chunks, before the reference copy is frozen.

    >>> frozen_after(1_000)
    256
    """
    chunks = -(-int(records * FREEZE_SHARE) // CHUNK_RECORDS)
    return min(max(chunks, 1) * CHUNK_RECORDS, records)


def _logged(stream: Stream, values: Sequence[bytes], times_ms: Ints, begin: int) -> Sequence[bytes]:
    """The values as shards read them, where the first is record `begin` of the history."""
    if not stream.rekeyed:
        return values
    generation = generation_of("")
    return [
        with_origin(value, Origin(0, offset, offset - 1, time_ms, True, generation))
        for offset, value, time_ms in zip(count(begin), values, times_ms.tolist(), strict=False)
    ]


def _calibration(system: LocalSystem) -> list[JsonValue]:
    return [{**one._asdict()} for one in system.validation.lifetime.calibration()]


def _rejected(system: LocalSystem, records: int) -> dict[str, JsonValue]:
    """Count dead and late records. Raises ConfigError, with the first reason, if all are dead."""
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
    """Delays chunks until their event time, divided by the speed-up, is due."""

    def __init__(self, history: History, speed_up: float | None) -> None:
        self._times_ms = history.times_ms
        self._speed_up = speed_up
        self._start_s = time.monotonic()

    async def wait_for(self, record: int) -> None:
        if self._speed_up is None:
            return
        passed_ms = float(self._times_ms[record] - self._times_ms[0])
        due_s = self._start_s + passed_ms / 1000.0 / self._speed_up
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _settings() -> Settings:
    """Return settings with a single shard and a snapshot an hour: a replay is not recovered."""
    return Settings.model_validate({"shards": {"count": 1, "snapshot_interval_s": 3600.0}})
