"""A shard with everything around it in memory, which can crash at any call of what it uses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np
from fake_clock import FakeClock
from small_shop import START_MS, Product, event, impression, spec, visit

from freshrank.actors.alerts import AlertSink
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.actors.messages import (
    BEGINNING,
    Delta,
    Examples,
    Gradient,
    SourceOffsets,
    Version,
    dominates,
)
from freshrank.actors.protocols import Progress, WriteOutcome
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.benchmarks.crashes.expected import entity_rows
from freshrank.benchmarks.crashes.invariants import Example, example_rows
from freshrank.benchmarks.crashes.process import as_step
from freshrank.benchmarks.crashes.recorded_stream import users_of
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import (
    MemorySnapshots,
    MemoryStatusRegistry,
    MemoryStore,
)
from freshrank.feature_actors.labels.definitions import Joined
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.shard.ports import ShardIdentity, ShardPorts, Training
from freshrank.feature_actors.shard.shard import Shard

PARTITIONS = 2


@dataclass
class FakeLearner:
    """Takes offset ranges in order; a crash loses what was learned after the last checkpoint."""

    applied: dict[int, SourceOffsets] = field(default_factory=dict)
    learned: dict[int, list[tuple[SourceOffsets, SourceOffsets, Examples]]] = field(
        default_factory=dict
    )
    durable: dict[int, SourceOffsets] = field(default_factory=dict)
    away: bool = False

    async def push(self, work: Gradient | Examples) -> Progress:
        if self.away:
            raise Unavailable("learner", "away")
        assert isinstance(work, Examples)
        offset_range = work.offset_range
        accepted = (
            self.applied.get(offset_range.partition, offset_range.begin) == offset_range.begin
        )
        if accepted:
            self.applied[offset_range.partition] = offset_range.end
            self.learned.setdefault(offset_range.partition, []).append(
                (offset_range.begin, offset_range.end, work)
            )
        return self._answer(offset_range.partition, accepted)

    async def progress(self, partition: int) -> Progress:
        if self.away:
            raise Unavailable("learner", "away")
        return self._answer(partition, True)

    def checkpoint(self) -> None:
        self.durable = dict(self.applied)

    def crash(self) -> None:
        for partition, ranges in self.learned.items():
            durable = self.durable.get(partition)
            self.learned[partition] = [
                learned
                for learned in ranges
                if durable is not None and dominates(durable, learned[1])
            ]
        self.applied = dict(self.durable)

    def start_again(self, topics: Collection[str]) -> None:
        """Go on from the last checkpoint, with these topics."""
        self.crash()
        self.applied = {at: one.only(topics) for at, one in self.applied.items()}
        self.durable = dict(self.applied)
        self.learned = {
            partition: [(begin.only(topics), end.only(topics), one) for begin, end, one in ranges]
            for partition, ranges in self.learned.items()
        }

    def examples(self) -> Counter[Example]:
        """Count the examples that were learned."""
        return Counter(
            row
            for ranges in self.learned.values()
            for _, _, examples in ranges
            for row in example_rows(examples)
        )

    def forgotten(self) -> set[int]:
        """The ids whose rows began again."""
        return {
            key
            for ranges in self.learned.values()
            for _, _, examples in ranges
            for key in examples.offset_range.forgotten
        }

    def _answer(self, partition: int, accepted: bool) -> Progress:
        applied = self.applied.get(partition, BEGINNING)
        durable = self.durable.get(partition, BEGINNING)
        return Progress(accepted, False, applied, durable, Version(1, 1))


class ImpatientSource(MemorySource):
    """Waits for no record, and gives few at once."""

    def __init__(self, log: MemoryLog, at_once: int = 1_000) -> None:
        super().__init__(log)
        self._at_once = at_once

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        return await super().poll(min(max_records, self._at_once), 0.0)


class NoWeights:
    """A learner that has published nothing."""

    async def newer_than(
        self, version: Version | None, timeout_s: float, refused: Version | None = None
    ) -> list[Delta]:
        await asyncio.sleep(timeout_s)
        return []


class FussySink(MemorySink):
    """A sink that may be away."""

    away = False

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        if self.away:
            raise Unavailable("kafka", "away")
        await super().reject(suffix, records)


class StrictStore(MemoryStore):
    """A store that may be away, and asserts that no row goes back in time."""

    away = False

    async def claim(self, partition: int, epoch: int) -> SourceOffsets | None:
        if self.away:
            raise Unavailable("redis", "away")
        return await super().claim(partition, epoch)

    async def write(
        self,
        partition: int,
        epoch: int,
        reached: SourceOffsets,
        keys: Sequence[bytes],
        rows: bytes | memoryview,
    ) -> WriteOutcome:
        if self.away:
            raise Unavailable("redis", "away")
        before = {key: self.rows[key] for key in keys if key in self.rows}
        outcome = await super().write(partition, epoch, reached, keys, rows)
        for key, row in before.items():
            assert _offset(self.rows[key]) >= _offset(row), f"{key!r} went back"
        return outcome


def _offset(row: bytes) -> int:
    return int.from_bytes(row[8:16], "little", signed=True)


def stepwise(part: Any) -> Any:
    """`part`, whose methods are steps before and after which a simulated process can crash."""

    class Stepwise:
        def __getattr__(self, name: str) -> Any:
            found = getattr(part, name)
            return as_step(found, name) if callable(found) else found

    return Stepwise()


class World:
    """A log of two partitions, and everything that a shard of both of them is connected to."""

    def __init__(
        self, made: PartitionSpec | None = None, at_once: int = 7, **settings: Any
    ) -> None:
        made = made or spec()
        changed = {"poll_max_records": at_once, "poll_timeout_ms": 1, "snapshot_interval_s": 3.0}
        self.spec = replace(made, settings=made.settings.model_copy(update=changed | settings))
        self.clock = FakeClock(START_MS)
        self.log = MemoryLog(PARTITIONS)
        self.sink = FussySink(self.log, self.clock)
        self.store = StrictStore()
        self.snapshots = MemorySnapshots()
        self.status_registry = MemoryStatusRegistry(self.clock)
        self.learner = FakeLearner()
        self.lock_step = True

    def away(self, part: str) -> None:
        """Only `part` (``store``, ``sink``, ``learner`` or none) cannot be reached."""
        self.store.away = part == "store"
        self.sink.away = part == "sink"
        self.learner.away = part == "learner"

    def shard(self, source: MemorySource | None = None, alerts: AlertSink | None = None) -> Shard:
        """A new shard on what its predecessor left behind."""
        connectors = Connectors(
            partitions=PARTITIONS,
            source=lambda: source or stepwise(MemorySource(self.log)),
            sink=stepwise(self.sink),
            store=stepwise(self.store),
            status_registry=stepwise(self.status_registry),
            clock=self.clock,
            close=_nothing,
        )
        training, snapshots = Training(stepwise(self.learner)), stepwise(self.snapshots)
        ports = ShardPorts(connectors, training, snapshots, alerts)
        identity = ShardIdentity("shard-0", range(PARTITIONS))
        return Shard(self.spec, identity, ports, lock_step=self.lock_step)

    def fill(self, seconds: int, seed: int = 1) -> None:
        """Some minutes of shopping: events, items shown, duplicates, late and broken records."""
        if "catalogue" in self.spec.topics:
            self._fill_catalogue(seconds, seed)
            return
        random = np.random.default_rng(seed)
        joined = isinstance(self.spec.label, Joined)
        number = 0
        for second in range(seconds):
            for partition in range(PARTITIONS):
                who = users_of(partition, PARTITIONS, 4)[int(random.integers(4))]
                at_ms = second * 1000 + int(random.integers(0, 3_000))
                kind = "order" if random.random() < 0.4 else "view"
                record = event(number, who, kind, int(random.integers(1, 4)), at_ms)
                stamp_ms = START_MS + second * 1000 + 4_000
                self.log.append("events", partition, record, stamp_ms)
                if random.random() < 0.15:
                    self.log.append("events", partition, record, stamp_ms)
                if random.random() < 0.1:
                    self.log.append("events", partition, b"{broken", stamp_ms)
                if joined and random.random() < 0.5:
                    items = random.integers(1, 4, size=2).tolist()
                    at_ms, scored = second * 1000, number % 4 > 0
                    shown = impression(self.spec, who, items, at_ms, number, scored=scored)
                    self.log.append("shown", partition, shown, stamp_ms)
                number += 1
                if number % 9 == 0:  # users who come back, and some who never were there
                    gone = who if number % 2 else users_of(partition, PARTITIONS, 20)[-1]
                    self.log.append("events", partition, None, stamp_ms, gone.encode())
        if "visits" in self.spec.topics:
            self._fill_visits(seconds, seed + 1)

    def _fill_catalogue(self, seconds: int, seed: int) -> None:
        """Rows of items, replaced and deleted again and again, and broken ones."""
        random = np.random.default_rng(seed)
        for number in range(4 * seconds):
            item = int(random.integers(1, 15))
            value: bytes | None = msgspec.json.encode(Product(item, "hats", float(number)))
            if random.random() < 0.3:
                value = None
            elif random.random() < 0.1:
                value = b"{broken"
            key = b"%d" % item if random.random() < 0.95 else None
            partition = partition_of(b"%d" % item, PARTITIONS)
            self.log.append("catalogue", partition, value, START_MS + number * 250, key)

    def _fill_visits(self, seconds: int, seed: int) -> None:
        """What the second stream tells of the same users, as irregular as the first."""
        random = np.random.default_rng(seed)
        for number in range(2 * seconds * PARTITIONS):
            partition, second = number % PARTITIONS, number // (2 * PARTITIONS)
            late_ms = 3_600_000 if random.random() < 0.05 else 0
            at_ms = second * 1000 + int(random.integers(0, 3_000)) - late_ms
            who = users_of(partition, PARTITIONS, 6)[int(random.integers(6))]
            record = visit(number + 1, who, int(random.integers(1, 5)), at_ms)
            records = [record, *([record] if random.random() < 0.1 else [])]
            stamp_ms = START_MS + second * 1000 + 4_000
            for value in [*records, *([b"{broken"] if random.random() < 0.05 else [])]:
                self.log.append("visits", partition, value, stamp_ms)
            if number % 40 == 7:
                self.log.append("visits", partition, None, stamp_ms, who.encode())

    async def until_read(self, shard: Shard, patience: int = 2_000) -> None:
        """Step until nothing is left to read and to give away."""
        for _ in range(patience):
            await shard.step()
            self.clock.ms += 250
            done = all(
                self.log.end(topic, partition) == state.offsets[topic]
                and not state.example_queue.unsent
                for partition, state in shard.states.items()
                for topic in self.spec.topics
            )
            if done and not any(
                len(table.dirty) for state in shard.states.values() for table in state.row_tables
            ):
                return
        raise AssertionError(f"not done after {patience} steps: {await shard.status()}")


async def _nothing() -> None:
    """Memory needs no closing."""


def features(shard: Shard) -> dict[str, bytes]:
    """The row of every entity."""
    return entity_rows(shard.states.values())


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `test` in an event loop of its own."""
    asyncio.run(test())


def live(world: World) -> World:
    """With background tasks and threads, as in a real system."""
    world.lock_step = False
    return world


async def wait_for(
    condition: Callable[[], object],
    seconds: float = 20.0,
    *,
    running: asyncio.Task[None] | None = None,
    interval_s: float = 0.001,
) -> None:
    """Wait until the condition holds, while `running`, a shard, does not end."""
    for _ in range(int(seconds / interval_s)):
        if condition():
            return
        if running is not None and running.done():
            await running
            raise AssertionError("the shard has ended")
        await asyncio.sleep(interval_s)
    raise AssertionError(f"not within {seconds} s")


def all_read(world: World, shard: Shard) -> bool:
    return bool(shard.states) and all(
        world.log.end(topic, partition) == state.offsets[topic]
        and not state.example_queue.unsent
        and not len(state.tables[0].dirty)
        for partition, state in shard.states.items()
        for topic in world.spec.topics
    )


async def until(read: Callable[[], Awaitable[Any]], wanted: Any, seconds: float = 30.0) -> None:
    """Wait until `read` gives `wanted`."""
    found = None
    for _ in range(int(seconds * 20)):
        found = await read()
        if found == wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{found!r} in place of {wanted!r} for {seconds} s")
