"""A broker in memory, its source and its sink, for simulation and replay.

They keep the promises of Kafka as far as one process can: the batteries in ``tests/contracts`` run
over both.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.kernels.partitioner import Partitioner, partitions_of
from freshrank.actors.messages import Ints
from freshrank.actors.records import DeletedRecords, RecordBatch, TopicIdentity


def consecutive_records(
    topic: str,
    partition: int,
    values: Sequence[bytes | None],
    timestamps_ms: Ints | int,
    begin: int = 0,
) -> RecordBatch:
    """Records at the offsets from `begin` on, stamped by the broker.

    `timestamps_ms` is int64[n], or the timestamp of all.

    >>> consecutive_records("plays", 0, [b"a", b"b"], 1_700_000_000_000, 7).offsets.tolist()
    [7, 8]
    """
    count = len(values)
    return RecordBatch(
        topic,
        partition,
        list(values),
        np.arange(begin, begin + count, dtype=np.int64),
        np.zeros(count, dtype=np.int64) + timestamps_ms,
        np.ones(count, dtype=np.bool_),
    )


@dataclass(slots=True)
class _Records:
    values: list[bytes | None] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    timestamps_ms: array[int] = field(default_factory=lambda: array("q"))


class MemoryLog:
    """A broker in memory: topics are made when first named, each with `partitions` partitions.

    Parameters
    ----------
    partitions
        Of each topic that `others` does not name.
    stamps
        Whether the timestamps of its records count as its own, or as those of the producers.
    others
        By topic: another number of partitions.
    """

    def __init__(
        self, partitions: int, *, stamps: bool = True, others: Mapping[str, int] | None = None
    ) -> None:
        self.partitions = partitions
        self._others = others or {}
        self._stamps = stamps
        self._generations: dict[str, int] = {}
        self._oldest: dict[tuple[str, int], int] = {}
        self._topics: dict[tuple[str, int], _Records] = {}
        self._arrived: set[asyncio.Event] = set()

    def partitions_of(self, topic: str) -> int:
        """The number of partitions of a topic."""
        return self._others.get(topic, self.partitions)

    def append(
        self,
        topic: str,
        partition: int,
        value: bytes | None,
        timestamp_ms: int,
        key: bytes | None = None,
    ) -> int:
        """Add a record; returns its offset."""
        records = self._records(topic, partition)
        records.values.append(value)
        records.keys.append(key)
        records.timestamps_ms.append(timestamp_ms)
        self._wake()
        return len(records.values) - 1

    def extend(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        timestamps_ms: Ints,
        keys: Sequence[bytes | None] | None = None,
    ) -> None:
        """Add ``n`` records to a partition; `timestamps_ms` is int64[n]."""
        records = self._records(topic, partition)
        records.values.extend(values)
        records.keys.extend([None] * len(values) if keys is None else keys)
        records.timestamps_ms.frombytes(timestamps_ms.astype(np.int64).tobytes())
        self._wake()

    def distribute(
        self,
        topic: str,
        keys: Sequence[bytes],
        values: Sequence[bytes | None],
        timestamps_ms: Ints,
        partitioner: Partitioner = Partitioner.MURMUR2,
    ) -> None:
        """Add many records, each to the partition of its key."""
        count = self.partitions_of(topic)
        owners = partitions_of(keys, count, partitioner)
        for partition in range(count):
            mine = np.flatnonzero(owners == partition)
            places = mine.tolist()
            own = [values[i] for i in places], timestamps_ms[mine], [keys[i] for i in places]
            self.extend(topic, partition, *own)

    def delete(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does."""
        self._oldest[topic, partition] = before

    def oldest(self, topic: str, partition: int) -> int:
        """The offset of the oldest record."""
        return self._oldest.get((topic, partition), 0)

    def create_again(self, topic: str) -> None:
        """Delete the topic with its records, and make one of the same name."""
        self._generations[topic] = self._generations.get(topic, 0) + 1
        for partition in range(self.partitions_of(topic)):
            self._topics.pop((topic, partition), None)
            self._oldest.pop((topic, partition), None)

    def identity(self, topic: str) -> TopicIdentity:
        """The identity of a topic."""
        return TopicIdentity(
            f"{topic}/{self._generations.get(topic, 0)}", self.partitions_of(topic)
        )

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        return len(self._records(topic, partition).values)

    def read(self, topic: str, partition: int, offset: int, count: int) -> RecordBatch:
        """Up to `count` records from `offset` on (none at the end)."""
        records = self._records(topic, partition)
        values = records.values[offset : offset + count]
        return RecordBatch(
            topic=topic,
            partition=partition,
            values=values,
            offsets=np.arange(offset, offset + len(values), dtype=np.int64),
            timestamps_ms=np.array(records.timestamps_ms[offset : offset + count], dtype=np.int64),
            stamped_by_broker=np.full(len(values), self._stamps),
            keys=records.keys[offset : offset + count],
        )

    def first_after(self, topic: str, partition: int, offset: int, at_ms: int) -> int:
        """The first offset from `offset` on whose record is later than `at_ms`; else the end."""
        stamps_ms = self._records(topic, partition).timestamps_ms
        for at in range(offset, len(stamps_ms)):
            if stamps_ms[at] > at_ms:
                return at
        return len(stamps_ms)

    async def wait(self, timeout_s: float) -> None:
        """Return when a record has been added anywhere, or after `timeout_s`."""
        arrived = asyncio.Event()
        self._arrived.add(arrived)
        try:
            async with asyncio.timeout(timeout_s):
                await arrived.wait()
        except TimeoutError:
            return
        finally:
            self._arrived.discard(arrived)

    def _records(self, topic: str, partition: int) -> _Records:
        count = self.partitions_of(topic)
        if not 0 <= partition < count:
            raise ValueError(f"{topic} has {count} partitions, not a number {partition}")
        return self._topics.setdefault((topic, partition), _Records())

    def _wake(self) -> None:
        for arrived in self._arrived:
            arrived.set()


class MemorySource:
    """Reads a MemoryLog; satisfies EventSource."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._positions: dict[tuple[str, int], int] = {}
        self._paused: set[tuple[str, int]] = set()
        self._deleted: list[DeletedRecords] = []

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Begin at the given offsets."""
        self._positions = {
            place: self._log.oldest(*place) if offset is None else offset
            for place, offset in positions.items()
        }
        self._paused.clear()
        for place in self._positions:
            self._pass_deleted(place)

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records; waits up to `timeout_s` (of the machine's clock) for the first."""
        batches = self._take(max_records)
        if not batches and timeout_s > 0:
            await self._log.wait(timeout_s)
            batches = self._take(max_records)
        else:
            await asyncio.sleep(0)  # a busy poller lets the other parts of its process run
        return batches

    def take_deleted(self) -> list[DeletedRecords]:
        """What was deleted before it was read, since the last call."""
        found, self._deleted = self._deleted, []
        return found

    def pause(self, topic: str, partition: int) -> None:
        """Give nothing of it until `resume`."""
        self._paused.add((topic, partition))

    def resume(self, topic: str, partition: int) -> None:
        """Undo `pause`."""
        self._paused.discard((topic, partition))

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Give `offset` next."""
        self._positions[topic, partition] = offset

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The oldest offset, and the next offset."""
        return self._log.oldest(topic, partition), self._log.end(topic, partition)

    async def lag(self) -> dict[tuple[str, int], int]:
        """The number of records beyond each position."""
        return {place: self._log.end(*place) - at for place, at in self._positions.items()}

    async def identities(self, topics: Sequence[str]) -> dict[str, TopicIdentity]:
        """The identities of `topics`."""
        return {topic: self._log.identity(topic) for topic in topics}

    def fetch_age_s(self) -> float:
        """Memory answers at once."""
        return 0.0

    async def stop(self) -> None:
        """Forget the positions."""
        self._positions.clear()

    def _take(self, max_records: int) -> list[RecordBatch]:
        batches = []
        for place in list(self._positions):
            if max_records <= 0:
                break
            if place in self._paused:
                continue
            self._pass_deleted(place)
            batch = self._log.read(*place, self._positions[place], max_records)
            if batch.values:
                max_records -= len(batch.values)
                # Last in the next round, so that a busy partition does not hold up the others.
                self._positions[place] = self._positions.pop(place) + len(batch.values)
                batches.append(batch)
        return batches

    def _pass_deleted(self, place: tuple[str, int]) -> None:
        at, oldest = self._positions[place], self._log.oldest(*place)
        if at < oldest:
            self._deleted.append(DeletedRecords(*place, at, oldest))
            self._positions[place] = oldest
