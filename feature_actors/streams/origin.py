"""Where the records of a re-keyed topic come from, and which of them are copies of copies.

A record is copied to the topic that is keyed by its entity with its *origin* before its value:
where it lies, and which record of the same source partition was copied to the same partition
before it. A copy that may have failed is made again, with all that follow it; so a partition may
hold a record twice, or a later one before an earlier one. The rule that takes each record once, in
order: a copy counts if its predecessor has been taken and it has not, that is if
``previous <= last < offset``. It is the cumulative acknowledgement of TCP (RFC 9293, section 3.4)
with the offsets of the log as sequence numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.file_format import Array

NONE_BEFORE = -1
"""The `previous` of the first record of a source partition that is copied to a partition."""

# Whether there is a value, then source partition, offset and previous offset.
_ORIGIN = struct.Struct(">Biqq")
_COLUMNS = np.dtype([("kind", "u1"), ("partition", ">i4"), ("offset", ">i8"), ("previous", ">i8")])
_TOMBSTONE, _VALUE = 0, 1

# More partitions than any topic has: a bound on memory.
_MOST_PARTITIONS = 1 << 16


def with_origin(value: bytes | None, partition: int, offset: int, previous: int) -> bytes:
    """Return the value of the copy of a record.

    >>> without_origin(with_origin(b"an event", 3, 17, NONE_BEFORE))
    b'an event'
    """
    kind = _TOMBSTONE if value is None else _VALUE
    return _ORIGIN.pack(kind, partition, offset, previous) + (value or b"")


def without_origin(value: bytes) -> bytes:
    """Return the value of the record that was copied; that of a tombstone is empty."""
    return value[_ORIGIN.size :]


class OriginFilter:
    """Takes each record of the source topic once, whoever copied it how often.

    It is a function of the log: any batches, and a restart from `arrays`, take the same records.
    """

    def __init__(self) -> None:
        self._last: Ints = np.full(0, NONE_BEFORE, dtype=np.int64)
        """int64[source partitions]: the offset that was taken last of each."""

    def take(self, batch: RecordBatch) -> tuple[RecordBatch, list[RejectedRecord], int]:
        """Return the records that are taken, with their own values, as a batch of the copies.

        Also the records without an origin, which are rejected, and the number of repeated copies.
        """
        copies, rejected = _copies(batch)
        values = [batch.values[place] or b"" for place in copies]
        heads = b"".join(value[: _ORIGIN.size] for value in values)
        origins = np.frombuffer(heads, dtype=_COLUMNS)
        partitions = origins["partition"].astype(np.int64)
        self._grow(int(partitions.max(initial=-1)) + 1)
        counts = np.zeros(len(copies), dtype=np.bool_)
        _first_copies(
            partitions,
            origins["offset"].astype(np.int64),
            origins["previous"].astype(np.int64),
            self._last,
            counts,
        )
        own = [
            without_origin(value) if kind == _VALUE else None
            for value, kind, first in zip(
                values, origins["kind"].tolist(), counts.tolist(), strict=True
            )
            if first
        ]
        taken = np.array(copies, dtype=np.int64)[counts]
        found = replace(
            batch,
            values=own,
            offsets=batch.offsets[taken],
            timestamps_ms=batch.timestamps_ms[taken],
            stamped_by_broker=batch.stamped_by_broker[taken],
        )
        return found, rejected, len(copies) - len(own)

    def arrays(self) -> dict[str, Array]:
        """The state, for a snapshot."""
        return {"last": self._last.copy()}

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state of these `arrays`."""
        self._last = arrays["last"].copy()

    def _grow(self, partitions: int) -> None:
        missing = partitions - len(self._last)
        if missing > 0:
            self._last = np.append(self._last, np.full(missing, NONE_BEFORE, dtype=np.int64))


def _copies(batch: RecordBatch) -> tuple[Sequence[int], list[RejectedRecord]]:
    """The places of the records with an origin, and the others."""
    places, rejected = [], []
    for place, value in enumerate(batch.values):
        if value is not None and len(value) >= _ORIGIN.size:
            kind, partition, offset, previous = _ORIGIN.unpack_from(value)
            known = kind in (_TOMBSTONE, _VALUE) and 0 <= partition < _MOST_PARTITIONS
            if known and NONE_BEFORE <= previous < offset:
                places.append(place)
                continue
        rejected.append(batch.rejected(place, "it has no origin: only Freshrank writes here"))
    return places, rejected


@lean_kernel
def _first_copies(
    partitions: Ints, offsets: Ints, previous: Ints, last: Ints, first: Bools
) -> None:
    for i in range(len(offsets)):
        taken = last[partitions[i]]
        if previous[i] <= taken < offsets[i]:
            first[i] = True
            last[partitions[i]] = offsets[i]
