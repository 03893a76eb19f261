"""Rejected records, until they are written to their side topics."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import RecordSink
from freshrank.actors.records import RejectedRecord
from freshrank.feature_actors.partition.outcome import Outcome

# Records, and bytes of their values, that may wait for the broker before reading pauses.
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 64 << 20
# Records, and bytes, of one write: those that are written before an outage, or before the timeout,
# are not written again.
_AT_ONCE = 1_000
_BYTES_AT_ONCE = 4 << 20
# Seconds that a snapshot waits for them at most; it is tried again later.
PATIENCE_S = 1.0
DEAD_SUFFIX, LATE_SUFFIX = ".dead", ".late"


class DeadLetterQueue:
    """Keeps rejected records until they are written to ``<topic>.dead`` or ``<topic>.late``.

    After a crash the records beyond the snapshot are written again: their origin identifies them.
    """

    def __init__(self, sink: RecordSink) -> None:
        self._sink = sink
        self._waiting: dict[str, list[RejectedRecord]] = {DEAD_SUFFIX: [], LATE_SUFFIX: []}
        self._flushing: asyncio.Task[None] | None = None
        self.error: str | None = None
        """The error of the last write; None after a success."""

    @property
    def full(self) -> bool:
        """Whether reading has to pause."""
        waiting = self._waiting.values()
        if sum(map(len, waiting)) >= MOST_WAITING:
            return True
        return sum(_size(record) for records in waiting for record in records) >= MOST_WAITING_BYTES

    def add(self, outcome: Outcome) -> None:
        """Queue the rejected records of a batch."""
        self._waiting[DEAD_SUFFIX] += outcome.dead
        self._waiting[LATE_SUFFIX] += outcome.late

    def flush_in_background(self) -> None:
        """Start to write the queued records, unless a write is under way."""
        if any(self._waiting.values()) and (self._flushing is None or self._flushing.done()):
            self._flushing = asyncio.create_task(self._note(self.flush()))

    async def settle(self) -> bool:
        """Write all queued records; False where that fails, or takes longer than `PATIENCE_S`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                for _ in range(2):  # records that came after a write had begun
                    self.flush_in_background()
                    if self._flushing is not None:
                        # Shielded: a write that is cancelled and repeated gives records twice.
                        await asyncio.shield(self._flushing)
        except TimeoutError:
            self.error = "kafka: no answer"
        return not any(self._waiting.values())

    async def flush(self) -> None:
        """Write the queued records. Raises Unavailable; records that may be lost stay queued."""
        for suffix, records in self._waiting.items():
            while records:
                sent = _first(records)
                await self._sink.reject(suffix, sent)
                del records[: len(sent)]

    async def _note(self, flushing: Coroutine[object, object, None]) -> None:
        try:
            await flushing
            self.error = None
        except Unavailable as error:
            self.error = str(error)


def _size(record: RejectedRecord) -> int:
    return 0 if record.value is None else len(record.value)


def _first(records: Sequence[RejectedRecord]) -> list[RejectedRecord]:
    """The records of the next write, at least one."""
    found: list[RejectedRecord] = []
    size = 0
    for record in records[:_AT_ONCE]:
        size += _size(record)
        if found and size > _BYTES_AT_ONCE:
            break
        found.append(record)
    return found
