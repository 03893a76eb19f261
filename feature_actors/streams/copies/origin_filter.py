"""Which copies of the records of a topic count: each of its records is taken once, in order.

A copy that may have failed is made again, with all that follow it; so a partition may hold a record
twice, or a later one before an earlier one. The rule that takes each record once, in order: a copy
counts if its predecessor has been taken and it has not, that is if ``previous <= last < offset``.
It is the cumulative acknowledgement of TCP (RFC 9293, section 3.4) with the offsets of the log as
sequence numbers.

Where copies were deleted before they were read, the next copy of each source partition counts
whatever was before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.file_format import Array
from freshrank.feature_actors.streams.copies.origin import BY_BROKER, NONE_BEFORE, Copies


@dataclass(frozen=True, slots=True)
class Copied:
    """What a batch of copies holds."""

    batch: RecordBatch
    """The records that count, with their own values and stamps. Their offsets are numbers of their
    own, ascending: that of the record that holds the copy, or one more than the number before where
    that is larger, because a record may hold several."""
    begin: int
    """The number that the first record could have: none before has it, or a larger one."""
    end: int
    """The same of the records after these."""
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
        self._next = 0
        """The least number of the next record (`Copied.batch`)."""

    def take(self, batch: RecordBatch, begin: int, end: int) -> Copied:
        """Take the copies with ``begin <= offset < end``, all of which are in `batch`."""
        copies = Copies.read(batch.values)
        origins, at = copies.origins, copies.places
        gaps = self._gaps(batch.offsets, begin, end)
        counts = origins["generation"] == self._generation
        partitions = origins["partition"].astype(np.int64)
        offsets = origins["offset"].astype(np.int64)
        previous = origins["previous"].astype(np.int64)
        lie = np.stack([batch.offsets[at], gaps[at]])
        self._grow(int(partitions.max(initial=-1)) + 1)
        _first_copies(partitions, offsets, previous, lie, self._last, counts)
        first, at = max(self._next, begin), at[counts]
        numbers = _numbers(batch.offsets[at], first)
        if len(numbers):
            self._next = int(numbers[-1]) + 1
        found = replace(
            batch,
            values=copies.values(counts),
            offsets=numbers,
            timestamps_ms=origins["timestamp_ms"].astype(np.int64)[counts],
            stamped_by_broker=(origins["kind"] & BY_BROKER).astype(np.bool_)[counts],
            keys=[batch.keys[place] for place in at.tolist()] if batch.keys else (),
        )
        return Copied(
            found,
            first,
            max(self._next, end),
            partitions[counts],
            offsets[counts],
            [batch.rejected(place, reason) for place, reason in copies.bad],
            repeated=len(origins) - len(numbers),
        )

    def arrays(self) -> dict[str, Array]:
        """The state, for a snapshot."""
        return {
            "last": self._last.copy(),
            "gap": np.array([self._gap]),
            "next": np.array([self._next]),
        }

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the state of these `arrays`; those of the version before have no ``next``."""
        self._last, self._gap = arrays["last"].copy(), int(arrays["gap"][0])
        self._next = int(arrays["next"][0]) if "next" in arrays else 0

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


def _numbers(offsets: Ints, begin: int) -> Ints:
    """int64[n]: ascending numbers of copies, by the offsets of the records that hold them.

    >>> _numbers(np.array([4, 4, 4, 5, 9]), 3).tolist()
    [4, 5, 6, 7, 9]
    """
    steps = np.arange(len(offsets))
    numbers: Ints = np.maximum.accumulate(np.maximum(offsets, begin) - steps) + steps
    return numbers


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
