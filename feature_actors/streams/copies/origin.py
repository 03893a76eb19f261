"""What a record of the topic of copies holds: records of the source topic, each with its origin.

A record is copied to the topic that is keyed by its entity with its *origin*: where it lies, when
it reached the log, which record of the same source partition was copied to the same partition
before it, and which state the copy is for. Copies that are written at the same time to the same
partition share a record, a *pack*: so an entity with many events costs a record for each batch, not
for each event. In a record of a single copy the value follows the origin. A pack begins with a byte
that no origin begins with and the number ``n`` of its copies (``>u4``); ``n`` origins follow, then
the lengths of the values (``>u4`` each), then the values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import xxhash
from numpy.typing import NDArray

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Bools, Ints
from freshrank.actors.records import RecordBatch

NONE_BEFORE = -1
"""The `previous` of the first record of a source partition that is copied to a partition."""

Origins: TypeAlias = NDArray[np.void]
"""Origins of several copies, as records hold them (`ORIGINS`)."""

ORIGINS = np.dtype(
    [
        ("kind", "u1"),
        ("partition", ">i4"),
        ("offset", ">i8"),
        ("previous", ">i8"),
        ("timestamp_ms", ">i8"),
        ("generation", ">u8"),
    ]
)
"""The columns of origins, as records hold them (`Origin`)."""

SIZE = ORIGINS.itemsize
"""Bytes of an origin."""

HAS_VALUE, BY_BROKER = 1, 2
"""Bits of the kind: the record has a value, and the broker stamped it."""

# The kinds of a record of a single copy are below that of a pack.
_PACK, _PACK_BYTE = 4, b"\x04"
_PACK_HEAD = struct.Struct(">BI")
_LENGTH = np.dtype(">u4")

# More partitions than any topic has: a bound on memory.
_MOST_PARTITIONS = 1 << 16

_NO_ORIGIN = "it has no origin: only Freshrank writes here"


class Origin(NamedTuple):
    """Where a copied record came from, as its copy says."""

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

    A state that starts empty has its records copied again, and leaves out earlier copies: these
    may follow other definitions, and some may have been deleted.
    """
    return xxhash.xxh64_intdigest(state.encode())


def origins_of(batch: RecordBatch, places: Ints, previous: Ints, generation: int) -> Origins:
    """Return the origins of the records at `places` int64[n]; `previous` is int64[n]."""
    has_value = [batch.values[place] is not None for place in places.tolist()]
    rows = np.empty(len(places), dtype=ORIGINS)
    by_broker = batch.stamped_by_broker[places] * BY_BROKER
    rows["kind"] = np.array(has_value, dtype=np.bool_) * HAS_VALUE + by_broker
    rows["partition"], rows["generation"] = batch.partition, generation
    rows["offset"], rows["previous"] = batch.offsets[places], previous
    rows["timestamp_ms"] = batch.timestamps_ms[places]
    return rows


def packed(origins: Origins, values: Sequence[bytes | None]) -> bytes:
    """Return the value of the record of these copies, at least one.

    >>> batch = RecordBatch("plays", 3, [b"an event", b"another"], np.array([7, 9]),
    ...     np.array([1_000, 2_000]), np.array([True, True]))
    >>> rows = origins_of(batch, np.arange(2), np.array([NONE_BEFORE, 7]), generation_of(""))
    >>> [(copy.origin.offset, copy.value) for copy in copies_in(packed(rows, batch.values))]
    [(7, b'an event'), (9, b'another')]
    """
    # Where arrays were joined, NumPy has put the bytes in the machine's own order.
    heads = origins.astype(ORIGINS, copy=False).tobytes()
    if len(values) == 1:
        return heads + (values[0] or b"")
    filled = [value or b"" for value in values]
    lengths = np.fromiter(map(len, filled), dtype=_LENGTH, count=len(filled))
    head = _PACK_HEAD.pack(_PACK, len(filled))
    return b"".join((head, heads, lengths.tobytes(), *filled))


def copied_in_turn(batch: RecordBatch, generation: int) -> list[bytes]:
    """Return a value with a single copy for each record of a batch, all for the same partition.

    The record before the first is that of the offset before.
    """
    origins = origins_of(batch, np.arange(len(batch.values)), batch.offsets - 1, generation)
    data, begins = origins.tobytes(), range(0, len(batch.values) * SIZE, SIZE)
    pairs = zip(begins, batch.values, strict=True)
    return [data[at : at + SIZE] + (value or b"") for at, value in pairs]


class Copy(NamedTuple):
    """A copied record."""

    origin: Origin
    value: bytes | None
    """None: a tombstone."""


def copies_in(record: bytes) -> list[Copy]:
    """Return the copies in the value of a record. Raises BadRecord where it is none of copies."""
    found = Copies.read([record])
    if not len(found.origins):
        raise BadRecord(found.bad[0][1])
    values = found.values(np.ones(len(found.origins), dtype=np.bool_))
    return [Copy(_origin(row), value) for row, value in zip(found.origins, values, strict=True)]


class Copies(NamedTuple):
    """The ``n`` copies in a batch of records, in their order."""

    records: Sequence[bytes | None]
    bad: list[tuple[int, str]]
    """The places of the records that hold no copies, and why."""
    places: Ints
    """int64[n]: of their records in the batch."""
    origins: Origins
    """``ORIGINS[n]``."""
    ends: Ints
    """int64[n]: where in its record the value of each ends."""
    lengths: Ints
    """int64[n]: of the values, in bytes."""

    @classmethod
    def read(cls, records: Sequence[bytes | None]) -> Copies:
        """The copies in the values of records."""
        counts, ends, lengths = list[int](), list[int](), list[int]()
        heads = b"".join([_lay_out(one or b"", counts, ends, lengths) for one in records])
        origins = np.frombuffer(heads, dtype=ORIGINS)
        places = np.repeat(np.arange(len(records)), counts)
        wrong = np.array(counts, dtype=np.int64) == 0
        wrong[places[~_known(origins)]] = True
        good = ~wrong[places]
        bad = [(place, _NO_ORIGIN) for place in np.flatnonzero(wrong).tolist()]
        bounds = np.array([ends, lengths], dtype=np.int64)[:, good]
        return cls(records, bad, places[good], origins[good], *bounds)

    def values(self, which: Bools) -> list[bytes | None]:
        """The values of the copies in `which` bool[n]; None for a tombstone."""
        has_value = (self.origins["kind"] & HAS_VALUE).astype(np.bool_)
        ends, places = self.ends[which], self.places[which].tolist()
        begins = (ends - self.lengths[which]).tolist()
        columns = zip(places, begins, ends.tolist(), has_value[which].tolist(), strict=True)
        return [
            (self.records[at] or b"")[begin:end] if known else None
            for at, begin, end, known in columns
        ]


def _lay_out(record: bytes, counts: list[int], ends: list[int], lengths: list[int]) -> bytes:
    """The origins in a record, of which there are none where it holds no copies.

    Adds how many there are to `counts`, and to the others where in the record each value ends, and
    how long it is.
    """
    size = len(record)
    if not record.startswith(_PACK_BYTE):
        alone = size >= SIZE
        counts.append(int(alone))
        if alone:
            ends.append(size)
            lengths.append(size - SIZE)
        return record[:SIZE] if alone else b""
    begin = _PACK_HEAD.size
    count = _PACK_HEAD.unpack_from(record)[1] if size >= begin else 0
    values_begin = begin + count * (SIZE + _LENGTH.itemsize)
    if size < values_begin or not count:
        counts.append(0)
        return b""
    origins_end = begin + count * SIZE
    found = np.frombuffer(record, dtype=_LENGTH, count=count, offset=origins_end).astype(np.int64)
    found_ends = values_begin + np.cumsum(found)
    if found_ends[-1] != size:
        counts.append(0)
        return b""
    counts.append(count)
    ends += found_ends.tolist()
    lengths += found.tolist()
    return record[begin:origins_end]


def _known(origins: Origins) -> Bools:
    """bool[n]: whether they are origins at all."""
    partitions, offsets, previous = origins["partition"], origins["offset"], origins["previous"]
    known: Bools = origins["kind"] < _PACK
    known &= (partitions >= 0) & (partitions < _MOST_PARTITIONS)
    known &= (previous >= NONE_BEFORE) & (previous < offsets)
    return known


def _origin(row: np.void) -> Origin:
    kind, partition, offset, previous, timestamp_ms, generation = row.tolist()
    by_broker = bool(kind & BY_BROKER)
    return Origin(partition, offset, previous, timestamp_ms, by_broker, generation)
