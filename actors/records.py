"""Records of a topic partition, as they are read from the broker, and as they are rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from freshrank.actors.messages import Bools, Ints

LONGEST_KEY = 256
"""The most characters of a key and of an event's id: without it a few could fill the memory."""


class RejectKind(StrEnum):
    """The kinds of reasons for which a record is rejected."""

    INVALID = "invalid"
    """It cannot be used, for any reason that has no kind of its own."""
    TIME_UNIT = "time_unit"
    """Its event time is in another unit than the stream declares."""
    TIME_ZONE = "time_zone"
    """Its event time names no zone, and the stream declares none."""
    TIME_AHEAD = "time_ahead"
    """Its event time is too far ahead of the log's."""
    MISPLACED = "misplaced"
    """It lies in another partition than its entity belongs to."""
    MISPLACED_CRC32 = "misplaced_crc32"
    """The same, and CRC-32 of the key gives its partition."""
    MISPLACED_MURMUR2 = "misplaced_murmur2"
    """The same, and murmur2 of the key gives its partition."""
    IMPRESSION_MISPLACED = "impression_misplaced"
    """An impression that lies in another partition than its entity belongs to."""
    OTHER_LAYOUT = "other_layout"
    """An impression of other features than those of now: its rows cannot be learned from."""
    NO_KEY = "no_key"
    """A row of a table, or a tombstone, that has no key."""
    SHOWN_LATE = "shown_late"
    """An impression that reached the log long after it was served: its label may be forgotten."""


class DecodedEvents(Protocol):
    """Decoded events; their reader knows the type."""

    def between(self, begin: int, end: int, /) -> DecodedEvents:
        """The events with ``begin <= index < end``."""
        ...


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive raw records of a topic partition, as columns of equal length ``n``."""

    topic: str
    partition: int
    values: list[bytes | None]
    """The payloads; None for a tombstone."""
    offsets: Ints
    """int64[n], ascending (compaction and transactions may leave gaps)."""
    timestamps_ms: Ints
    """int64[n]: the timestamps of the records."""
    stamped_by_broker: Bools
    """bool[n]: whether the broker stamped the record when it appended it (``LogAppendTime``); else
    its producer did, by a clock of its own (``CreateTime``)."""
    keys: Sequence[bytes | None] = ()
    """Of the records; (): they are not known."""
    decoded: DecodedEvents | None = None
    """Of the records, where their reader has decoded all of them by the codec of their stream. Then
    `values` are empty, and records of a re-keyed stream are no copies, but those that are copied.
    """

    def between(self, begin: int, end: int | None) -> RecordBatch:
        """The records with ``begin <= offset < end`` (None: to the last)."""
        first = int(self.offsets.searchsorted(begin))
        last = len(self.values) if end is None else int(self.offsets.searchsorted(end))
        if first == 0 and last == len(self.values):
            return self
        return RecordBatch(
            self.topic,
            self.partition,
            self.values[first:last],
            self.offsets[first:last],
            self.timestamps_ms[first:last],
            self.stamped_by_broker[first:last],
            self.keys[first:last],
            None if self.decoded is None else self.decoded.between(first, last),
        )

    def tombstones(self) -> list[RecordBatch]:
        """Each record without a value, as a batch of its own."""
        if None not in self.values:
            return []
        records = zip(self.values, self.offsets.tolist(), strict=True)
        return [self.between(at, at + 1) for value, at in records if value is None]

    def rejected(
        self, place: int, reason: str, kind: RejectKind = RejectKind.INVALID
    ) -> RejectedRecord:
        """The record at index `place`, to be written to a side topic."""
        offset = int(self.offsets[place])
        return RejectedRecord(self.topic, self.partition, offset, reason, self.values[place], kind)


@dataclass(frozen=True, slots=True)
class DeletedRecords:
    """Offsets of a topic partition that were deleted (by retention) before they were read."""

    topic: str
    partition: int
    begin: int
    end: int
    """The oldest offset that is left."""


def no_records(deleted: DeletedRecords) -> RecordBatch:
    """The batch that is left of them."""
    none = np.empty(0, dtype=np.int64)
    stamped = np.empty(0, dtype=np.bool_)
    return RecordBatch(deleted.topic, deleted.partition, [], none, none, stamped)


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """Differs for a topic that was created again, and for a topic whose keys have moved."""

    id: str
    """The broker's id of the topic, which changes when it is created again; "" if it has no ids."""
    partitions: int


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record on its way to ``<topic>.dead`` or ``<topic>.late``, with reason and origin."""

    topic: str
    partition: int
    offset: int
    reason: str
    value: bytes | None
    kind: RejectKind = RejectKind.INVALID
    """Of the reason, for the counters; a side topic does not hold it."""
