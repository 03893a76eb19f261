"""Where the records of a re-keyed topic come from, and which of them are copies of copies.

A record is copied to the topic that is keyed by its entity with its *origin* before its value:
where it lies, when it reached the log, which record of the same source partition was copied to the
same partition before it, and which state the copy is for. A copy that may have failed is made
again, with all that follow it; so a partition may hold a record twice, or a later one before an
earlier one. The rule that takes each record once, in order: a copy counts if its predecessor has
been taken and it has not, that is if ``previous <= last < offset``. It is the cumulative
acknowledgement of TCP (RFC 9293, section 3.4) with the offsets of the log as sequence numbers.

Where copies were deleted before they were read, the next copy of each source partition counts
whatever was before it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import xxhash

from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.file_format import Array

NONE_BEFORE = -1
"""The `previous` of the first record of a source partition that is copied to a partition."""

# Kind, source partition, offset, previous offset, timestamp and generation.
_ORIGIN = struct.Struct(">BiqqqQ")
_COLUMNS = np.dtype(
    [
        ("kind", "u1"),
        ("partition", ">i4"),
        ("offset", ">i8"),
        ("previous", ">i8"),
        ("timestamp_ms", ">i8"),
        ("generation", ">u8"),
    ]
)
# Bits of the kind: the record has a value, and the broker stamped it.
_HAS_VALUE, _BY_BROKER, _KINDS = 1, 2, 4

# More partitions than any topic has: a bound on memory.
_MOST_PARTITIONS = 1 << 16

_NO_ORIGIN = "it has no origin: only Freshrank writes here"


class Origin(NamedTuple):
    """What the copy of a record tells of it."""

    partition: int
    """Of the source topic."""
    offset: int
    previous: int
    """The offset of the record of the same source partition that was copied here before."""
    timestamp_ms: int
    """Of the record in the source topic."""
    by_broker: bool
    """Whether the source topic's broker made the timestamp."""
    generation: int
    """Of the state that the copy is for (`generation_of`)."""


def generation_of(state: str) -> int:
    """Return the number, of 64 bits, of the state that copies are made for.

    A state that begins anew has its records copied anew, and leaves out the copies of before: they
    may follow other definitions, and some may have been deleted.
    """
    return xxhash.xxh64_intdigest(state.encode())


def with_origin(value: bytes | None, origin: Origin) -> bytes:
    """Return the value of the copy of a record.

    >>> split_origin(with_origin(b"an event", Origin(3, 17, 16, 1_700_000_000_000, True, 1)))[1]
    b'an event'
    """
    kind = (value is not None) * _HAS_VALUE + origin.by_broker * _BY_BROKER
    partition, offset, previous, timestamp_ms, _, generation = origin
    head = _ORIGIN.pack(kind, partition, offset, previous, timestamp_ms, generation)
    return head + (value or b"")


def with_origins(batch: RecordBatch, places: Ints, previous: Ints, generation: int) -> list[bytes]:
    """Return the values of the copies of the records at `places`, as `with_origin` makes them.

    `previous` is int64[n] and has those of the origins.
    """
    values = [batch.values[place] for place in places.tolist()]
    heads = np.empty(len(values), dtype=_COLUMNS)
    has_value = np.array([value is not None for value in values], dtype=np.bool_)
    heads["kind"] = has_value * _HAS_VALUE + batch.stamped_by_broker[places] * _BY_BROKER
    heads["partition"], heads["generation"] = batch.partition, generation
    heads["offset"], heads["previous"] = batch.offsets[places], previous
    heads["timestamp_ms"] = batch.timestamps_ms[places]
    data, size = heads.tobytes(), _ORIGIN.size
    begins = range(0, len(data), size)
    return [data[at : at + size] + (value or b"") for at, value in zip(begins, values, strict=True)]


def split_origin(copy: bytes) -> tuple[Origin, bytes | None]:
    """Return the origin and the value of a copied record. Raises BadRecord where there is none."""
    if len(copy) < _ORIGIN.size:
        raise BadRecord(_NO_ORIGIN)
    kind, partition, offset, previous, timestamp_ms, generation = _ORIGIN.unpack_from(copy)
    known = kind < _KINDS and 0 <= partition < _MOST_PARTITIONS
    if not (known and NONE_BEFORE <= previous < offset):
        raise BadRecord(_NO_ORIGIN)
    by_broker = bool(kind & _BY_BROKER)
    value = copy[_ORIGIN.size :] if kind & _HAS_VALUE else None
    return Origin(partition, offset, previous, timestamp_ms, by_broker, generation), value


@dataclass(frozen=True, slots=True)
class Copied:
    """What a batch of copies holds."""

    batch: RecordBatch
    """The records that count, at the offsets of their copies, with their own values and stamps."""
    partitions: Ints
    """int64[n]: their partitions in the source topic."""
    offsets: Ints
    """int64[n]: their offsets in the source topic."""
    rejected: list[RejectedRecord]
    """Records without an origin."""
    repeated: int
    """Copies that do not count: they have been taken before, or are another state's."""

    def original(self, record: RejectedRecord, topic: str) -> RejectedRecord:
        """Return a rejected record of `batch` as the record of source `topic` that it copies."""
        place = int(np.searchsorted(self.batch.offsets, record.offset))
        partition, offset = int(self.partitions[place]), int(self.offsets[place])
        return replace(record, topic=topic, partition=partition, offset=offset)


class OriginFilter:
    """Takes each record of the source topic once, whoever copied it how often.

    It is a function of the log: any batches, and a restart from `arrays`, take the same records.
    """

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._last: Ints = np.full((2, 0), NONE_BEFORE, dtype=np.int64)
        """int64[2, source partitions]: the offset that was taken last of each, and that of its
        copy."""
        self._gap = NONE_BEFORE
        """The offset of the first copy after the last that were deleted unread."""

    def take(self, batch: RecordBatch, begin: int, end: int) -> Copied:
        """Take the copies with ``begin <= offset < end``, all of which are in `batch`."""
        places, rejected = _copies(batch)
        values = [batch.values[place] or b"" for place in places]
        heads = b"".join(value[: _ORIGIN.size] for value in values)
        origins = np.frombuffer(heads, dtype=_COLUMNS)
        at = np.array(places, dtype=np.int64)
        gaps = self._gaps(batch.offsets, begin, end)
        counts = origins["generation"] == self._generation
        partitions = origins["partition"].astype(np.int64)
        offsets = origins["offset"].astype(np.int64)
        previous = origins["previous"].astype(np.int64)
        copies = np.stack([batch.offsets[at], gaps[at]])
        self._grow(int(partitions.max(initial=-1)) + 1)
        _first_copies(partitions, offsets, previous, copies, self._last, counts)
        kinds = origins["kind"].tolist()
        own = [
            value[_ORIGIN.size :] if kind & _HAS_VALUE else None
            for value, kind, first in zip(values, kinds, counts.tolist(), strict=True)
            if first
        ]
        found = replace(
            batch,
            values=own,
            offsets=batch.offsets[at][counts],
            timestamps_ms=origins["timestamp_ms"].astype(np.int64)[counts],
            stamped_by_broker=(origins["kind"] & _BY_BROKER).astype(np.bool_)[counts],
            keys=[batch.keys[place] for place in at[counts].tolist()] if batch.keys else (),
        )
        repeated = len(places) - len(own)
        return Copied(found, partitions[counts], offsets[counts], rejected, repeated)

    def arrays(self) -> dict[str, Array]:
        """The state, for a snapshot."""
        return {"last": self._last.copy(), "gap": np.array([self._gap])}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state of these `arrays`."""
        self._last, self._gap = arrays["last"].copy(), int(arrays["gap"][0])

    def _gaps(self, offsets: Ints, begin: int, end: int) -> Ints:
        """int64[n]: for each record of a batch the end of the last gap in the log before it."""
        bounds = np.append(offsets, end)
        after_gap = bounds > np.append(begin, offsets + 1)
        gaps: Ints = np.maximum.accumulate(np.where(after_gap, bounds, self._gap))
        self._gap = int(gaps[-1])
        return gaps[:-1]

    def _grow(self, partitions: int) -> None:
        missing = partitions - self._last.shape[1]
        if missing > 0:
            more = np.full((2, missing), NONE_BEFORE, dtype=np.int64)
            self._last = np.concatenate([self._last, more], axis=1)


def _copies(batch: RecordBatch) -> tuple[Sequence[int], list[RejectedRecord]]:
    """The places of the records with an origin, and the others."""
    places, rejected = [], []
    for place, value in enumerate(batch.values):
        try:
            split_origin(value or b"")
            places.append(place)
        except BadRecord as error:
            rejected.append(batch.rejected(place, error.reason))
    return places, rejected


@lean_kernel
def _first_copies(
    partitions: Ints, offsets: Ints, previous: Ints, copies: Ints, last: Ints, first: Bools
) -> None:
    """Of the copies in `first`, leave those that count.

    `copies` is int64[2, n]: where they lie, and the end of the last gap before each.
    """
    for i in range(len(offsets)):
        taken, copy = last[0, partitions[i]], last[1, partitions[i]]
        follows = previous[i] <= taken or copy < copies[1, i]
        if first[i] and follows and taken < offsets[i]:
            last[0, partitions[i]], last[1, partitions[i]] = offsets[i], copies[0, i]
        else:
            first[i] = False
