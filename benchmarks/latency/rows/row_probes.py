"""Probes of rows: each sends the only event of a user and waits until a row of it can be read.

They are begun twenty times a second whatever became of those before, and measure the time from just
before the send until the row is read. The online store is asked every millisecond, and after a
tenth of a second every hundredth of the time that has passed, so that probes that wait for long do
not load it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.runtime import freeze_heap
from freshrank.benchmarks.latency.rows import traffic_host
from freshrank.benchmarks.latency.rows.row_stages import Sighting
from freshrank.benchmarks.module_process import run_module
from freshrank.examples.shop.shoppers import ShopEvent
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.sink import KafkaSink

PROBES_PER_S = 20
# Seconds between two reads of the store, and the share of a probe's age that they may be.
READ_S, READ_SHARE = 0.001, 0.01
# Seconds to start an engine on two busy cores, and to wait for a row.
START_S, TIMEOUT_S = 120.0, 10.0
# The item of the first probe: beyond those of the traffic.
FIRST_ITEM = traffic_host.FIRST_ITEM + 1_000


class ProbedRows(Protocol):
    """The rows of an online store."""

    async def readable(self, user: str, item: int) -> bool:
        """Whether there is a row of the user, or of the item: of what is measured.

        Probes share reads, and what a busy store gives late is late.
        """
        ...


@dataclass(frozen=True, slots=True)
class EventLoad:
    """Events in an open loop, and the probes beside them."""

    rate: int
    """Events a second."""
    seconds: float

    @property
    def events(self) -> int:
        """How many events there are, without those of probes."""
        return int(self.rate * self.seconds)

    @property
    def probes(self) -> int:
        """How many probes are begun meanwhile."""
        return int(PROBES_PER_S * self.seconds)


def events_in_all(loads: Iterable[EventLoad]) -> int:
    """How many events come: those of the loads, of their probes, and one before all.

    >>> events_in_all([EventLoad(rate=1_000, seconds=2.0)])
    2041
    """
    return 1 + sum(load.events + load.probes for load in loads)


@dataclass(slots=True)
class RowLatencies:
    """The findings of the probes of a measurement."""

    latencies_ms: list[float] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    """Of the probes whose row came."""
    missing: int = 0
    """Probes whose row could not be read within `TIMEOUT_S`."""
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    """By stage (`row_stages`): its part of each latency."""
    cpu_us: float = math.nan
    """CPU time of the shard's process for each event."""

    @property
    def with_missing_ms(self) -> list[float]:
        """The latencies, of which those of missing rows are infinite.

        >>> RowLatencies([4.0], missing=1).with_missing_ms
        [4.0, inf]
        """
        return [*self.latencies_ms, *([math.inf] * self.missing)]


@asynccontextmanager
async def prober(kafka: KafkaAccess, topic: str, rows: ProbedRows) -> AsyncIterator[RowProber]:
    """Provide a prober that writes to `topic` within the block."""
    sink = KafkaSink(kafka)
    await sink.start()
    try:
        yield RowProber(kafka, topic, sink, rows)
    finally:
        await sink.stop()


class RowProber:
    """Sends events to `topic`, and reads rows."""

    def __init__(self, kafka: KafkaAccess, topic: str, sink: KafkaSink, rows: ProbedRows) -> None:
        self._kafka, self._topic = kafka, topic
        self._sink = sink
        self._rows = rows
        self._clock = SystemClock()
        self._probes = 0
        self._runs = 0

    async def until_written(self, engine: asyncio.Task[Any], timeout_s: float = START_S) -> None:
        """Wait for the first row of an engine that has been started.

        Raises Unavailable where it takes longer than `timeout_s`, and what ended `engine` before.
        """
        await _unless_failed(engine, self._first_row(timeout_s))

    async def under_load(self, load: EventLoad) -> RowLatencies:
        """Measure while events come at a steady rate. Raises Unavailable where they do not.

        Where not even the first of them has a row by the end of the last, all probes are missing.
        """
        number, self._runs = self._runs, self._runs + 1
        amounts = [str(load.rate), str(load.events), str(number)]
        arguments = [self._kafka.bootstrap, self._topic, *amounts]
        limit_s = START_S + 2 * load.seconds
        traffic = asyncio.create_task(
            asyncio.to_thread(run_module, traffic_host.__name__, arguments, limit_s)
        )
        if not await self._keeps_up(traffic, *traffic_host.first_of(number)):
            return RowLatencies(missing=load.probes)
        found = await self._open_loop(load.probes)
        await traffic
        return found

    async def _first_row(self, timeout_s: float) -> None:
        if await self._measure(timeout_s) is None:
            raise Unavailable("engine", f"it wrote no row within {timeout_s:g} s")

    async def _keeps_up(self, traffic: asyncio.Task[bytes], user: str, item: int) -> bool:
        """Wait for the first row of the traffic; whether it comes while that goes on."""
        while not await self._rows.readable(user, item):
            if traffic.done():
                await traffic
                return False
            await asyncio.sleep(READ_S)
        return True

    async def _open_loop(self, probes: int) -> RowLatencies:
        """Begin a probe whenever one is due, however long those before take."""
        freeze_heap()  # no pauses of the garbage collector in the process that measures
        found, began_s = RowLatencies(), self._clock.monotonic()

        async def probe() -> None:
            sighting = await self._measure(TIMEOUT_S)
            if sighting is None:
                found.missing += 1
            else:
                found.sightings.append(sighting)
                found.latencies_ms.append(float(sighting.found_ms - sighting.began_ms))

        async with asyncio.TaskGroup() as running:
            for number in range(probes):
                due_s = began_s + number / PROBES_PER_S
                await asyncio.sleep(max(0.0, due_s - self._clock.monotonic()))
                running.create_task(probe())
        return found

    async def _measure(self, timeout_s: float) -> Sighting | None:
        """Send the only event of a user and an item, and wait until the row is there.

        None: too long.
        """
        began_ms = asked_ms = missed_ms = self._clock.now_ms()
        number, self._probes = self._probes, self._probes + 1
        user, item = f"probe{number}", FIRST_ITEM + number
        event = ShopEvent(f"{user}-view", user, item, 1, "view", 1.0, began_ms)
        sending = asyncio.create_task(
            self._sink.send(self._topic, user.encode(), msgspec.json.encode(event))
        )
        while not await self._rows.readable(user, item):
            age_s = (asked_ms - began_ms) / 1_000
            if age_s > timeout_s:
                sending.cancel()
                return None
            await asyncio.sleep(max(READ_S, READ_SHARE * age_s))
            missed_ms, asked_ms = asked_ms, self._clock.now_ms()
        found_ms = self._clock.now_ms()
        return Sighting(await sending, began_ms, missed_ms, found_ms)


async def _unless_failed(process: asyncio.Task[Any], waiting: Coroutine[Any, Any, None]) -> None:
    """Await `waiting`, and raise at once what ends `process` meanwhile."""
    until = asyncio.ensure_future(waiting)
    await asyncio.wait((process, until), return_when=asyncio.FIRST_COMPLETED)
    if not until.done():
        try:
            await process
        except BaseException:
            until.cancel()
            raise
    await until
