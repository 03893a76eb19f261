"""Copies of records for the topic that is keyed by the entity: their places, and their records."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.partitioner import Partitioner, partition_of, partitions_of_texts
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.reading.stamp_merge import ordered_stamps
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.copies.origin import (
    NONE_BEFORE,
    SIZE,
    origins_of,
    packed,
)
from freshrank.feature_actors.streams.stream import ANY, Stream


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


@dataclass(slots=True)
class BatchCopies:
    """The records of a batch, with what their copies need; axis ``n``, in their order."""

    batch: RecordBatch
    names: list[str]
    """Of the entities that they are of."""
    partitions: Ints
    """int64[n]: where each belongs."""
    refused: set[int] = field(default_factory=set)
    """The places of those that are not copied, or that the topic does not take."""
    unusable: list[tuple[int, BadRecord]] = field(default_factory=list)
    """The places of tombstones that name no entity, and why; they are among `refused`."""

    def places(self) -> Ints:
        """int64[m]: those that are copied."""
        taken = np.ones(len(self.names), dtype=np.bool_)
        taken[list(self.refused)] = False
        return np.flatnonzero(taken)

    def progress_after(self, previous: Ints) -> CopyProgress:
        """The progress when the copies are written; `previous` is that of the progress before."""
        places, reached = self.places(), previous.copy()
        # Of several of one partition, the last.
        reached[self.partitions[places]] = self.batch.offsets[places]
        return CopyProgress(int(self.batch.offsets[-1]) + 1, reached)


class CopyRecord(NamedTuple):
    """A record of the topic of copies on its way."""

    key: bytes
    """Of an entity that belongs to the partition that all its copies belong to."""
    value: bytes
    members: list[tuple[BatchCopies, int]]
    """What it has copies of: batches, and places in these."""


def copy_records(
    batches: Sequence[BatchCopies],
    previous: Sequence[Ints],
    generation: int,
    most_bytes: int,
) -> list[CopyRecord]:
    """The records that hold the copies of all that the batches do not refuse.

    Copies of a partition are in the order of the stamps of what they copy. A record holds those of
    one partition, and about `most_bytes` at most; a copy that is larger than a quarter of that has
    a record of its own, and so has a tombstone: the key of the record names its entity. `previous`
    has, for each batch, that of the progress before it; `generation` is that of the state that the
    copies are for.
    """
    chosen = [one.places() for one in batches]
    to = np.concatenate([one.partitions[at] for one, at in zip(batches, chosen, strict=True)])
    if not len(to):
        return []
    pairs = list(zip(batches, chosen, strict=True))
    origins = np.concatenate(
        [
            origins_of(
                one.batch,
                at,
                _before(one.partitions[at], one.batch.offsets[at], before),
                generation,
            )
            for (one, at), before in zip(pairs, previous, strict=True)
        ]
    )
    stamps = np.concatenate([ordered_stamps(one.batch)[at] for one, at in pairs])
    order = np.lexsort((stamps, to))
    members = [(one, place) for one, at in pairs for place in at.tolist()]
    members = [members[at] for at in order.tolist()]
    values = [one.batch.values[place] for one, place in members]
    origins = origins[order]
    found = []
    bounds = _bounds(to[order], values, most_bytes)
    for begin, end in itertools.pairwise(bounds):
        batch, place = members[begin]
        value = packed(origins[begin:end], values[begin:end])
        found.append(CopyRecord(batch.names[place].encode(), value, members[begin:end]))
    return found


def _bounds(to: Ints, values: Sequence[bytes | None], most_bytes: int) -> list[int]:
    """Where records begin that hold copies for the partitions `to`, which ascend; and the end.

    >>> _bounds(np.array([0, 0, 0, 1, 1]), [b"a", None, b"b", b"c", b"d"], 1_000)
    [0, 1, 2, 3, 5]
    """
    sizes = np.array([len(value or b"") for value in values]) + SIZE
    # So that one large value makes no record too large for others.
    alone = np.array([value is None for value in values]) | (sizes > most_bytes // 4)
    first = np.append(True, to[1:] != to[:-1])
    before = np.cumsum(sizes) - sizes
    part = (before - np.maximum.accumulate(np.where(first, before, 0))) // most_bytes
    first[1:] |= (part[1:] != part[:-1]) | alone[1:] | alone[:-1]
    return [*np.flatnonzero(first).tolist(), len(to)]


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

    One that is no event of the stream, or names no entity, belongs where its own partition's number
    hashes to. A
    tombstone belongs to the entity of its key: where the stream is of another key than the topic's,
    it says nothing of its entities, and is not copied. Nor is, there, an event that lies in another
    partition than the topic's own key belongs to: the shard of that partition rejects it, and an
    event counts for all its entities or for none.
    """

    def __init__(self, stream: Stream, partitions: int) -> None:
        self._stream = stream
        self._codec = Codec(stream)
        self._partitions = partitions

    def copies(self, batch: RecordBatch, source_partitions: int) -> BatchCopies:
        """Of which entities a batch's records are, and where they belong.

        The source topic has `source_partitions`.
        """
        columns, _ = self._codec.decode(batch)
        names, unknown = columns.text(self._stream.key.key), str(batch.partition)
        if "" in names:
            names = [name or unknown for name in names]
        belong = partitions_of_texts(names, self._partitions, Partitioner.MURMUR2)
        if len(columns) < len(batch.values):
            known = np.searchsorted(batch.offsets, columns.offsets)
            of_known = zip(known.tolist(), names, strict=True)
            names = [unknown] * len(batch.values)
            for place, name in of_known:
                names[place] = name
            there = belong
            belong = np.full(len(names), partition_of(unknown.encode(), self._partitions))
            belong[known] = there
        copies = BatchCopies(batch, names, belong)
        copies.refused.update(self._misplaced(batch, columns, source_partitions))
        if None in batch.values:
            self._place_tombstones(copies)
        return copies

    def _misplaced(self, batch: RecordBatch, columns: Columns, partitions: int) -> list[int]:
        """The places of events that belong to another of the source topic's `partitions`."""
        own, partitioner = self._stream.record_key, self._stream.record_partitioner
        if own is None or partitioner is None or partitioner == ANY:
            return []
        there = partitions_of_texts(columns.text(own.key), partitions, Partitioner(partitioner))
        wrong = columns.offsets[there != batch.partition]
        places: list[int] = np.searchsorted(batch.offsets, wrong).tolist()
        return places

    def _place_tombstones(self, copies: BatchCopies) -> None:
        batch = copies.batch
        for place in [at for at, value in enumerate(batch.values) if value is None]:
            if self._stream.of_another_key:
                copies.refused.add(place)
                continue
            try:
                name = self._codec.entity(batch.keys[place] if batch.keys else None)
            except BadRecord as error:
                copies.refused.add(place)
                copies.unusable.append((place, error))
                continue
            copies.names[place] = name
            copies.partitions[place] = partition_of(name.encode(), self._partitions)
