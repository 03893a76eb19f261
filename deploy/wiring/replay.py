"""Replays recorded events through a pipeline, in event time and in a single process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from freshrank.actors.errors import ConfigError
from freshrank.actors.messages import Floats, Ints
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.history.arrivals import DeadReasons
from freshrank.deploy.history.records import History
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.deploy.wiring.lock_step import BATCH_EVENTS
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, consecutive_records
from freshrank.feature_actors.shard.status import totals
from freshrank.feature_actors.streams.copies.origin import copied_in_turn, generation_of
from freshrank.feature_actors.streams.stream import Stream

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
    settings: Settings | None = None,
    speed_up: float | None = None,
    advanced: Callable[[int], None] = lambda records: None,
    judged: Callable[[Floats], None] = lambda predictions: None,
) -> Mapping[str, JsonValue]:
    """Play `history`; return the learner's metrics, calibration, and counts of unused records.

    Weights that have learned all earlier chunks score each chunk before it is learned. A chunk has
    `batch_events` events of the pipeline's first stream; what the other streams have meanwhile is
    known from the next chunk on. Of the `settings`, those of shards and of the learner count.

    `speed_up` is the number of seconds of event time in a second of real time; None plays as fast
    as possible. `advanced` is called with the number of records played so far, `judged` with the
    predictions of the next examples: where they are in the order of time, that is the order of
    the records. Raises ConfigError if all records are dead.
    """
    clock = EventClock()
    world = World(MemoryLog(partitions=1), clock)  # a single partition keeps the order
    settings = settings or Settings()
    chunk = batch_events(settings)
    system = LocalSystem(pipeline, _of_replay(settings), world, chunk, serving=False)
    await system.start()
    system.validation.judged = judged
    pace = _Pace(history, speed_up)
    freeze_at = int(len(history) * FREEZE_SHARE)
    frozen = False
    records = _StreamRecords(pipeline, history)
    for number, (begin, end) in enumerate(pairwise(records.chunks(chunk))):
        await pace.wait_for(end - 1)
        clock.event_ms = int(history.times_ms[end - 1])
        records.append(world.log, begin, end)
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


def replayed_predictions(
    pipeline: Pipeline, history: History, settings: Settings | None = None
) -> Floats:
    """float32[m]: of the examples of a replay, each as predicted when its event came.

    They are in the order of `history`, which has to be that of time; where labels are known later
    (`Labelled.known_after`), those of the last events are not among them.
    """
    found: list[Floats] = []
    asyncio.run(replay(pipeline, history, settings=settings, judged=found.append))
    return np.concatenate(found)


def batch_events(settings: Settings) -> int:
    """Events between two versions of the weights: ``learner.batch_examples`` where that is set.

    Otherwise 64: as often as a running system steps at 1,000 events/s, whose steps are due by
    ``learner.max_wait_ms``.

    >>> batch_events(Settings())
    64
    >>> batch_events(Settings.model_validate({"learner": {"batch_examples": 256}}))
    256
    """
    given = "batch_examples" in settings.learner.model_fields_set
    return settings.learner.batch_examples if given else BATCH_EVENTS


def frozen_after(records: int) -> int:
    """Return the number of records, in chunks of 64, before the reference copy is frozen.

    >>> frozen_after(1_000)
    256
    """
    chunks = -(-int(records * FREEZE_SHARE) // BATCH_EVENTS)
    return min(max(chunks, 1) * BATCH_EVENTS, records)


class _StreamRecords:
    """The records of a history, each in the topic of its stream."""

    def __init__(self, pipeline: Pipeline, history: History) -> None:
        self._history = history
        self._first = pipeline.stream
        self._places = {stream: history.places_of(stream.topic) for stream in pipeline.streams}
        """By stream: int64[.], which records of the history are its."""

    def chunks(self, size: int) -> list[int]:
        """Where chunks begin and end: each has `size` events of the first stream, but the last."""
        ends = self._places[self._first][size - 1 :: size] + 1
        whole = len(self._history)
        return [0, *ends[ends < whole].tolist(), whole]

    def append(self, log: MemoryLog, begin: int, end: int) -> None:
        """Write records `begin` to `end` to their topics."""
        for stream, places in self._places.items():
            first, last = np.searchsorted(places, [begin, end]).tolist()
            chosen = places[first:last]
            times_ms = self._history.times_ms[chosen]
            values = [self._history.values[place] for place in chosen.tolist()]
            log.extend(stream.log_topic, 0, _logged(stream, values, times_ms, first), times_ms)


def _logged(stream: Stream, values: Sequence[bytes], times_ms: Ints, begin: int) -> Sequence[bytes]:
    """The values as shards read them, where the first is record `begin` of the stream."""
    if not stream.rekeyed:
        return values
    batch = consecutive_records(stream.topic, 0, values, times_ms, begin)
    return copied_in_turn(batch, generation_of(""))


def _calibration(system: LocalSystem) -> list[JsonValue]:
    return [{**one._asdict()} for one in system.validation.lifetime.calibration()]


def _rejected(system: LocalSystem, records: int) -> dict[str, JsonValue]:
    """Count what is not learned. Raises ConfigError, with the first reason, if all are dead."""
    topics = {f"{stream.topic}.dead" for stream in system.pipeline.streams}
    dead = [record for where, record in system.sink.rejected if where in topics]
    if len(dead) == records:
        raise ConfigError(
            f"record {dead[0].offset} of records",
            f"its value is no event of {dead[0].topic!r}, and no other is: {dead[0].reason}",
            "Yield the JSON of an event as the stream's schema has it.",
        )
    counted = [totals(shard.states) for shard in system.shards]
    reasons = DeadReasons()
    for record in dead:
        reasons.count(record.reason, record.offset, f"record {{}} of {record.topic!r}".format)
    return {
        "dead": len(dead),
        "dead_reasons": reasons.lines(),
        "late": len(system.sink.rejected) - len(dead),
        **{
            name: sum(one[name] for one in counted)
            for name in (
                "negatives_left_out",
                "examples_of_no_target",
                "examples_of_no_class",
                "examples_of_bad_weight",
                "pending",
            )
        },
    }


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


def _of_replay(settings: Settings) -> Settings:
    """`settings` with a single shard and a snapshot an hour: a replay is not recovered."""
    changed = {"count": 1, "snapshot_interval_s": 3600.0}
    return settings.model_copy(update={"shards": settings.shards.model_copy(update=changed)})
