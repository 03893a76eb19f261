"""Copies of records for the topic that is keyed by the entity: their keys, places and values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from freshrank.actors.kernels.partitioner import Partitioner, partition_of, partitions_of_texts
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.reading.stamp_merge import ordered_stamps
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.origin import NONE_BEFORE, Origin, with_origin
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
    """The places of those that the topic does not take."""

    def made_after(self, previous: Ints) -> tuple[list[CopyOf], CopyProgress]:
        """The copies of records that are not refused, and the progress when they are written.

        `previous` is that of the progress before them.
        """
        batch, previous, found = self.batch, previous.copy(), list[CopyOf]()
        for place, offset, to, stamp_ms in self._places():
            origin = Origin(
                partition=batch.partition,
                offset=offset,
                previous=int(previous[to]),
                timestamp_ms=int(batch.timestamps_ms[place]),
                by_broker=bool(batch.stamped_by_broker[place]),
                generation=self.generation,
            )
            value = with_origin(batch.values[place], origin)
            found.append(CopyOf(stamp_ms, place, self.keys[place], value))
            previous[to] = offset
        return found, CopyProgress(int(batch.offsets[-1]) + 1, previous)

    def _places(self) -> Iterator[tuple[int, int, int, int]]:
        """Place, offset, partition that it belongs to and stamp of each record not refused."""
        offsets, stamps = self.batch.offsets.tolist(), ordered_stamps(self.batch).tolist()
        for place, to in enumerate(self.partitions.tolist()):
            if place not in self.refused:
                yield place, offsets[place], to, stamps[place]


class CopyMaker:
    """Finds where the records of `stream` belong among so many partitions.

    One that is no event of the stream belongs where its own partition's number hashes to.
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
        return BatchCopies(batch, keys, belong, self._generation)
