"""The sink of a broker in memory: writes to its log, and keeps the rejected records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from freshrank.actors.clock import Clock
from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.actors.records import RejectedRecord
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog


class MemorySink:
    """Writes to a MemoryLog; satisfies RecordSink. Rejected records are kept in `rejected`.

    `partitioners` has, by topic, how partitions are chosen; murmur2 unless it is named.
    """

    def __init__(
        self, log: MemoryLog, clock: Clock, partitioners: Mapping[str, Partitioner] | None = None
    ) -> None:
        self._log = log
        self._clock = clock
        self._partitioners = partitioners or {}
        self._turn = 0
        self.rejected: list[tuple[str, RejectedRecord]] = []

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Append a record; returns (partition, offset)."""
        return self._append(topic, key, value)

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        """Append records; memory takes any size."""
        for key, value in records:
            self._append(topic, key, value)
        return [None] * len(records)

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Append a record."""
        self._append(topic, key, value)

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        """Append to ``<topic><suffix>`` (same partition), and note reason and origin."""
        for record in records:
            topic = record.topic + suffix
            self._log.append(topic, record.partition, record.value, self._clock.now_ms())
            self.rejected.append((topic, record))

    @property
    def failures(self) -> int:
        """Memory does not fail."""
        return 0

    def _append(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        count = self._log.partitions_of(topic)
        if key is None:
            self._turn = (self._turn + 1) % count
            partition = self._turn
        else:
            partitioner = self._partitioners.get(topic, Partitioner.MURMUR2)
            partition = partition_of(key, count, partitioner)
        return partition, self._log.append(topic, partition, value, self._clock.now_ms(), key)
