"""Whether records lie in the partition that their entity belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import bounded
from freshrank.actors.kernels.partitioner import Partitioner, partitions_of_texts
from freshrank.actors.records import RejectKind

_WHERE_OTHERS_LIE = {
    Partitioner.CRC32: RejectKind.MISPLACED_CRC32,
    Partitioner.MURMUR2: RejectKind.MISPLACED_MURMUR2,
}


@dataclass(frozen=True, slots=True)
class PlacementFault:
    """A record of an entity that belongs to another partition."""

    place: int
    """Index of the record's key."""
    kind: RejectKind
    reason: str
    """The partition that the entity belongs to, and the fix."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A partition of a topic, and how producers choose partitions.

    The key that counts is the entity's id inside the event, as text in UTF-8: a record without a
    key that lies in the partition of its entity is right.
    """

    partitioner: Partitioner
    partition: int
    partitions: int
    """Of each topic."""
    declared: str = "Stream"
    """What declares the topic; a table is never re-keyed."""

    def faults(self, keys: Sequence[str]) -> Iterator[PlacementFault]:
        """The faults of records of these `n` entities, which lie in this partition.

        >>> for fault in Placement(Partitioner.MURMUR2, 0, 4).faults(["kafka", "foobar", "u0"]):
        ...     print(fault.place, fault.reason)
        1 'foobar' belongs to partition 2 by murmur2, and lies in 0: key the records by the \
entity, or declare Stream(partitioner="any")
        2 'u0' belongs to partition 2 by murmur2, and lies in 0, where crc32 puts it: \
declare Stream(partitioner="crc32")
        """
        belong = partitions_of_texts(keys, self.partitions, self.partitioner)
        misplaced = belong != self.partition
        if not misplaced.any():
            return
        wrong = np.flatnonzero(misplaced)
        other, names = self.partitioner.other, [keys[place] for place in wrong.tolist()]
        fits = partitions_of_texts(names, self.partitions, other) == self.partition
        for place, name, fits_other in zip(wrong.tolist(), names, fits.tolist(), strict=True):
            where = bounded(
                f"{name!r} belongs to partition {belong[place]} by {self.partitioner}, "
                f"and lies in {self.partition}"
            )
            if fits_other:
                fix = f'where {other} puts it: declare {self.declared}(partitioner="{other}")'
                yield PlacementFault(place, _WHERE_OTHERS_LIE[other], f"{where}, {fix}")
            else:
                fix = "key the records by the entity"
                if self.declared == "Stream":
                    fix += ', or declare Stream(partitioner="any")'
                yield PlacementFault(place, RejectKind.MISPLACED, f"{where}: {fix}")
