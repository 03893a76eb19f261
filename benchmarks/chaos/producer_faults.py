"""Faults of producers: wrong clocks, other partitioners, records without a key, other codecs."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, Message, Producer

from freshrank.actors.errors import Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.benchmarks.chaos.detection import Observation, counted
from freshrank.benchmarks.chaos.faults import TIMEOUT_S, Fault, Handles
from freshrank.benchmarks.workloads.dead_letters import MARK
from freshrank.benchmarks.workloads.shop_events import REFRESH_METADATA, events_of, user_name
from freshrank.benchmarks.workloads.shop_traffic import background

# Events a second of such a producer: a few in a hundred of all, so that they are counted, and no
# share of which an alert would tell. In bursts, which are compressed together.
EVENTS_PER_S, BURST = 100.0, 10
# Records of the right producers between two bursts of another: with fewer, as when it reaches a
# broker first that is back, it would be most of the topic for a moment, and the log's time is told
# by what most records say. A wrong clock would be believed, and by a right one what the others
# still hold, a click, reached the log late.
OUTNUMBERED_BY = 20 * BURST
USERS = 20_000
# The least and the most seconds for which it writes.
LASTS_S = (0.5, 1.5)

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def _now(now_ms: int) -> int:
    return now_ms


def _by_murmur2(key: bytes, _: int, partitions: int) -> int:
    return partition_of(key, partitions)


def _by_crc32(key: bytes, _: int, partitions: int) -> int:
    return zlib.crc32(key) % partitions


def _in_turn(_: bytes, number: int, partitions: int) -> int:
    return number % partitions


@dataclass(frozen=True, slots=True)
class Habit:
    """How a producer writes; without arguments, as it should."""

    event_ms: Callable[[int], int] = _now
    """From the present time to that in its events."""
    stamp_ms: Callable[[int], int] = _now
    """From the present time to that of its records."""
    rejected: bool = False
    """Whether its events cannot be used, wherever they lie."""
    partition: Callable[[bytes, int, int], int] = _by_murmur2
    """From the key, the number of the record and that of the partitions."""
    with_key: bool = True
    codec: str = "none"


class _Writer:
    """Writes events by a habit to the topic of a pipeline."""

    def __init__(self, handles: Handles, habit: Habit) -> None:
        self._handles = handles
        self._habit = habit
        self._run = f"{habit.codec}-{time.time_ns():x}-"
        self._failed: list[str] = []
        self._delivered_before = self._delivered_by_others()
        """Records of the right producers before the last burst."""
        self._producer = Producer(
            {
                "bootstrap.servers": handles.bootstrap,
                "compression.type": habit.codec,
                "linger.ms": 50,
                "log_level": 0,
                **REFRESH_METADATA,
            }
        )

    async def write_forever(self) -> None:
        for first in itertools.count(step=BURST):
            # What waits for a broker that is away comes at once when it is back.
            while len(self._producer) >= BURST or not self._outnumbered():
                self._producer.poll(0)
                await self._handles.clock.sleep(BURST / EVENTS_PER_S)
            self._delivered_before = self._delivered_by_others()
            for number in range(first, first + BURST):
                self._write(number)
            self._producer.poll(0)
            await self._handles.clock.sleep(BURST / EVENTS_PER_S)

    def finish(self) -> None:
        """Wait until the broker has all records. Raises Unavailable when it refused one."""
        left = self._producer.flush(TIMEOUT_S)
        if left or self._failed:
            raise Unavailable("kafka", f"{left} records were not written; {self._failed[:1]}")

    def _delivered_by_others(self) -> int:
        delivered = self._handles.delivered
        return 0 if delivered is None else delivered()

    def _outnumbered(self) -> bool:
        others = self._delivered_by_others() - self._delivered_before
        return self._handles.delivered is None or others >= OUTNUMBERED_BY

    def _write(self, number: int) -> None:
        habit, rng, now_ms = self._habit, self._handles.rng, self._handles.clock.now_ms()
        user = int(rng.integers(0, USERS))
        key = user_name(user).encode()
        partition = habit.partition(key, number, self._handles.partitions)
        rejected = habit.rejected or partition != partition_of(key, self._handles.partitions)
        run = MARK.decode() + self._run if rejected else self._run
        (event,) = events_of([user], [habit.event_ms(now_ms)], rng, run, number)
        self._producer.produce(
            self._handles.pipeline.stream.topic,
            event,
            key if habit.with_key else None,
            partition,
            on_delivery=self._delivered,
            timestamp=habit.stamp_ms(now_ms),
        )

    def _delivered(self, error: KafkaError | None, _: Message[bytes, bytes]) -> None:
        if error is not None:
            self._failed.append(str(error))


@contextlib.asynccontextmanager
async def writing(handles: Handles, habits: Sequence[Habit]) -> AsyncIterator[Observation]:
    """Let producers of these habits write to the stream's topic within the block.

    Raises Unavailable where the broker refuses a record.
    """
    writers = [_Writer(handles, habit) for habit in habits]
    before = handles.observer.newest
    async with contextlib.AsyncExitStack() as stack:
        for writer in writers:
            await stack.enter_async_context(background(writer.write_forever()))
        yield before
    await asyncio.gather(*(asyncio.to_thread(writer.finish) for writer in writers))


@contextlib.asynccontextmanager
async def _shopper_clocks(handles: Handles, ahead_ms: int) -> AsyncIterator[Observation]:
    """The clocks of every other shopper are ahead within the block."""
    before, handles.shopper_clock_ms = handles.observer.newest, ahead_ms
    try:
        yield before
    finally:
        handles.shopper_clock_ms = 0


def _fault(line: str, counter: str, habit: Habit) -> Fault:
    """The fault of a producer with this habit, which the shard counts."""
    return Fault(line, partial(writing, habits=(habit,)), counted(counter), LASTS_S)


def _clock(line: str, counter: str, ahead_ms: int) -> Fault:
    """The fault of a producer whose stamps and event times are wrong."""

    def shifted(now_ms: int) -> int:
        return now_ms + ahead_ms

    return _fault(line, counter, Habit(event_ms=shifted, stamp_ms=shifted))


def _unit(name: str, convert: Callable[[int], int]) -> Fault:
    habit = Habit(event_ms=convert, rejected=True)
    return _fault(f"a producer writes times in {name}", "dead_time_unit", habit)


WRONG_CLOCKS = (
    _clock("a producer's clock is 59 minutes ahead", "stamp_ahead", 59 * MINUTE_MS),
    _clock("a producer's clock is five minutes ahead", "stamp_ahead", 5 * MINUTE_MS),
    _clock("a producer's clock is five minutes behind", "stamp_behind", -5 * MINUTE_MS),
    _clock("a producer's clock is an hour behind", "stamp_behind", -HOUR_MS),
    _fault(
        "a producer writes event times two hours ahead",
        "dead_time_ahead",
        Habit(event_ms=lambda now_ms: now_ms + 2 * HOUR_MS, rejected=True),
    ),
    Fault(
        "the clocks of half of the shoppers are 59 minutes ahead",
        partial(_shopper_clocks, ahead_ms=59 * MINUTE_MS),
        counted("clock_ahead"),
        LASTS_S,
    ),
    Fault(
        "the clocks of half of the shoppers are an hour behind",
        partial(_shopper_clocks, ahead_ms=-HOUR_MS),
        counted("clock_behind"),
        LASTS_S,
    ),
)

WRONG_UNITS = (
    _unit("seconds", lambda now_ms: now_ms // 1_000),
    _unit("microseconds", lambda now_ms: now_ms * 1_000),
    _unit("nanoseconds", lambda now_ms: now_ms * 1_000_000),
)

WRONG_PARTITIONS = (
    _fault(
        "a producer keys by CRC-32",
        "dead_misplaced_crc32",
        Habit(partition=_by_crc32),
    ),
    _fault(
        "a producer writes records without a key",
        "dead_misplaced",
        Habit(partition=_in_turn, with_key=False),
    ),
)

# The system reads them as it reads all others: there is nothing to tell.
CODECS = Fault(
    "producers compress with gzip, snappy, lz4 and zstd",
    partial(
        writing, habits=tuple(Habit(codec=codec) for codec in ("gzip", "snappy", "lz4", "zstd"))
    ),
    None,
    LASTS_S,
)
