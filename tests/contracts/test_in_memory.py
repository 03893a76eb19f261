"""The batteries over what lies in memory and on disk; tests/integration has the real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from batteries import (
    EventSourceBattery,
    LogWorld,
    OnlineStoreBattery,
    RecordSinkBattery,
    SnapshotStoreBattery,
    StatusRegistryBattery,
    StoreWorld,
)
from fake_clock import FakeClock

from freshrank.actors.clock import SystemClock
from freshrank.actors.protocols import EventSource, RecordSink, StatusRegistry
from freshrank.actors.snapshots.file_store import FileSnapshots
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.connectors.in_memory.sink import MemorySink
from freshrank.feature_actors.connectors.in_memory.stores import (
    STATUS_TTL_MS,
    MemorySnapshots,
    MemoryStatusRegistry,
    MemoryStore,
)

NOW_MS = 1_700_000_000_000


@dataclass
class MemoryLogWorld:
    topic: str = "events"
    log: MemoryLog = field(default_factory=lambda: MemoryLog(partitions=3))
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW_MS))
    sinks: list[MemorySink] = field(default_factory=list)

    async def write(self, partition: int, values: Sequence[bytes | None]) -> None:
        for value in values:
            self.log.append(self.topic, partition, value, self.clock.now_ms(), b"any")

    async def delete(self, partition: int, before: int) -> None:
        self.log.delete(self.topic, partition, before)

    async def contents(self, topic: str) -> list[tuple[bytes | None, dict[str, bytes]]]:
        return [
            (
                record.value,
                {
                    "reason": record.reason.encode(),
                    "topic": record.topic.encode(),
                    "partition": b"%d" % record.partition,
                    "offset": b"%d" % record.offset,
                },
            )
            for sink in self.sinks
            for name, record in sink.rejected
            if name == topic
        ]

    async def source(self) -> EventSource:
        return MemorySource(self.log)

    async def sink(self) -> RecordSink:
        self.sinks.append(MemorySink(self.log, self.clock))
        return self.sinks[-1]

    async def close(self) -> None:
        pass


@dataclass
class MemoryStoreWorld:
    store: MemoryStore = field(default_factory=MemoryStore)

    async def forget(self) -> None:
        self.store.forget()

    async def close(self) -> None:
        pass


class TestMemorySource(EventSourceBattery):
    @pytest.fixture
    def world(self) -> LogWorld:
        return MemoryLogWorld()


class TestMemorySink(RecordSinkBattery):
    @pytest.fixture
    def world(self) -> LogWorld:
        return MemoryLogWorld()


class TestMemoryStore(OnlineStoreBattery):
    @pytest.fixture
    def world(self) -> StoreWorld:
        return MemoryStoreWorld()


class TestMemoryStatusRegistry(StatusRegistryBattery):
    @pytest.fixture
    def make(self) -> Callable[[], AbstractAsyncContextManager[StatusRegistry]]:
        return lambda: nullcontext(MemoryStatusRegistry(SystemClock()))

    def test_figures_of_a_silent_part_expire(self) -> None:
        clock = FakeClock(NOW_MS)
        status_registry = MemoryStatusRegistry(clock)
        asyncio.run(status_registry.post("gone", {"events": 1}))
        clock.ms += STATUS_TTL_MS
        assert asyncio.run(status_registry.collect()) == {}


class TestMemorySnapshots(SnapshotStoreBattery):
    @pytest.fixture
    def store(self) -> SnapshotStore:
        return MemorySnapshots(keep=3)


class TestFileSnapshots(SnapshotStoreBattery):
    @pytest.fixture
    def store(self, tmp_path: Path) -> SnapshotStore:
        return FileSnapshots(tmp_path / "new" / "folder", keep=3)
