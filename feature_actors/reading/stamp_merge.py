"""Records of several partitions of a topic, given on in the order of their stamps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch

# Seconds that records which a producer stamped wait for those of other partitions: a stamp that is
# ahead of all others would hold them for ever.
_MOST_HELD_S = 1.0
# Milliseconds that a record may be newer than what other partitions have left to read, and is given
# on. Where a shard keeps up, partitions are a poll or two apart, and held records would cost
# each event several: what is given on too early makes others later by that, by the log's clock.
_NEAR_MS = 100

# Later than any.
_NO_STAMP = np.iinfo(np.int64).max


@dataclass(slots=True)
class _Held:
    batch: RecordBatch
    since_s: float


class StampMerge:
    """Holds records back until no other partition is known to have older ones.

    A shard that reads a long log would else take the records of one partition before those of
    another, and what came late would count as too late. A partition that has no unread records
    holds up no other.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}
        self._reached: dict[int, int] = {}
        """By partition: the stamp of its newest record."""

    def __len__(self) -> int:
        """The records that are held."""
        return sum(len(held.batch.values) for held in self._held.values())

    def add(self, batch: RecordBatch, now_s: float) -> None:
        """Hold the next records of a partition of which none are held."""
        self._held[batch.partition] = _Held(batch, now_s)
        self._reached[batch.partition] = int(ordered_stamps(batch)[-1])

    def holds(self, partition: int) -> bool:
        """Whether records of `partition` are held: read no more of it until they are released."""
        return partition in self._held

    def release(self, lag: Mapping[int, int], now_s: float) -> list[RecordBatch]:
        """Give the records that are due, at most one batch a partition.

        `lag` has the number of unread records of each partition.
        """
        # What a partition has left to read is not older than what was read of it.
        stamps = [self._reached.get(at, 0) + _NEAR_MS for at, count in lag.items() if count]
        floor, released = min(stamps, default=_NO_STAMP), list[RecordBatch]()
        for partition, held in list(self._held.items()):
            batch = held.batch
            due = int(np.searchsorted(ordered_stamps(batch), floor, side="right"))
            if not batch.stamped_by_broker.all() and now_s - held.since_s >= _MOST_HELD_S:
                due = len(batch.values)
            if due == len(batch.values):
                del self._held[partition]
            else:
                held.batch = batch.between(int(batch.offsets[due]), None)
                batch = batch.between(0, int(batch.offsets[due]))
            if due:
                released.append(batch)
        return released


def ordered_stamps(batch: RecordBatch) -> Ints:
    """int64[n]: the stamps of a batch; one that is ahead of those after it counts as theirs."""
    stamps: Ints = np.minimum.accumulate(batch.timestamps_ms[::-1])[::-1]
    return stamps
