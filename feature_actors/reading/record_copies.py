"""Copies of records for the topic that is keyed by the entity: their keys, places and values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.partitioner import Partitioner, partition_of, partitions_of_texts
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.reading.stamp_merge import ordered_stamps
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.origin import NONE_BEFORE, with_origins
from freshrank.feature_actors.streams.stream import Stream


@dataclass(slots=True)
class CopyProgress:
    """How far a source partition is copied."""

    next_offset: int | None
    """None: from its oldest record."""
    previous: Ints
    """int64[partitions]: the offset of the last record copied to each, or `NONE_BEFORE`."""

    @classmethod
    def nothing(cls, partitions: int) -> CopyProgress:
        """Nothing is copied, to as many partitions."""
        return cls(None, np.full(partitions, NONE_BEFORE, dtype=np.int64))


class CopyOf(NamedTuple):
    """The copy of a record on its way."""

    stamp_ms: int
    """The order of the copies of several partitions (`ordered_stamps`)."""
    place: int
    """Of the record in its batch."""
    key: bytes
    value: bytes


@dataclass(slots=True)
class BatchCopies:
    """The records of a batch, with what their copies need; axis ``n``, in their order."""

    batch: RecordBatch
    keys: list[bytes]
    partitions: Ints
    """int64[n]: where each belongs."""
    generation: int
    refused: set[int] = field(default_factory=set)
    """The places of those that are not copied, or that the topic does not take."""
    unusable: list[tuple[int, BadRecord]] = field(default_factory=list)
    """The places of tombstones that name no entity, and why; they are among `refused`."""

    def made_after(self, previous: Ints) -> tuple[list[CopyOf], CopyProgress]:
        """The copies of records that are not refused, and the progress when they are written.

        `previous` is that of the progress before them.
        """
        batch, stamps = self.batch, ordered_stamps(self.batch)
        taken = np.ones(len(self.keys), dtype=np.bool_)
        taken[list(self.refused)] = False
        places = np.flatnonzero(taken)
        to, offsets = self.partitions[places], batch.offsets[places]
        before = _before(to, offsets, previous)
        values = with_origins(batch, places, before, self.generation)
        at = places.tolist()
        keys = [self.keys[place] for place in at]
        found = list(map(CopyOf, stamps[places].tolist(), at, keys, values))
        reached = previous.copy()
        reached[to] = offsets  # of several of one partition, the last
        return found, CopyProgress(int(batch.offsets[-1]) + 1, reached)


def _before(to: Ints, offsets: Ints, previous: Ints) -> Ints:
    """int64[n]: the offset of the record before each that goes to the same partition.

    >>> _before(np.array([1, 0, 1]), np.array([7, 8, 9]), np.array([5, 6])).tolist()
    [6, 5, 7]
    """
    order = np.argsort(to, kind="stable")
    partitions, sorted_offsets = to[order], offsets[order]
    first = np.append(True, partitions[1:] != partitions[:-1])[: len(to)]
    before = np.empty(len(to), dtype=np.int64)
    before[order] = np.where(first, previous[partitions], np.roll(sorted_offsets, 1))
    return before


class CopyMaker:
    """Finds where the records of `stream` belong among so many partitions.

    One that is no event of the stream belongs where its own partition's number hashes to. A
    tombstone belongs to the entity of its key: where the stream is of another key than the topic's,
    it says nothing of its entities, and is not copied.
    """

    def __init__(self, stream: Stream, partitions: int, generation: int) -> None:
        self._stream = stream
        self._codec = Codec(stream)
        self._partitions = partitions
        self._generation = generation

    def copies(self, batch: RecordBatch) -> BatchCopies:
        """The keys and the partitions of a batch's records."""
        columns, _ = self._codec.decode(batch)
        unknown = str(batch.partition).encode()
        keys = [unknown] * len(batch.values)
        belong = np.full(len(keys), partition_of(unknown, self._partitions))
        if len(columns):
            known = np.searchsorted(batch.offsets, columns.offsets)
            texts = columns.text(self._stream.key.key)
            belong[known] = partitions_of_texts(texts, self._partitions, Partitioner.MURMUR2)
            for place, text in zip(known.tolist(), texts, strict=True):
                keys[place] = text.encode()
        copies = BatchCopies(batch, keys, belong, self._generation)
        if None in batch.values:
            self._place_tombstones(copies)
        return copies

    def _place_tombstones(self, copies: BatchCopies) -> None:
        batch = copies.batch
        for place in [at for at, value in enumerate(batch.values) if value is None]:
            if self._stream.of_another_key:
                copies.refused.add(place)
                continue
            try:
                key = self._codec.entity(batch.keys[place] if batch.keys else None).encode()
            except BadRecord as error:
                copies.refused.add(place)
                copies.unusable.append((place, error))
                continue
            copies.keys[place] = key
            copies.partitions[place] = partition_of(key, self._partitions)
