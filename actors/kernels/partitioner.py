"""Which partition a key belongs to, and which shard owns which partitions.

The hashes are those of Kafka's clients, so that records that any of them produces meet the state
that is kept here.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.kernels.hashing import SEPARATOR, find_ends
from freshrank.actors.messages import Ints

# The constants of MurmurHash2 (Austin Appleby) and the seed that Kafka's client chose
# (org.apache.kafka.common.utils.Utils.murmur2).
_SEED = np.uint64(0x9747B28C)
_MULTIPLIER = np.uint64(0x5BD1E995)
_WORD = np.uint64(0xFFFFFFFF)  # numba widens 32-bit arithmetic, so products are cut to 32 bits

_POSITIVE = 0x7FFFFFFF  # the client drops the sign bit

# The reversed polynomial of CRC-32 (ISO-HDLC, the one of zlib and of librdkafka's rd_crc32).
_CRC32_POLYNOMIAL = 0xEDB88320

_NOTHING = np.zeros(1, dtype=np.uint8)


class Partitioner(StrEnum):
    """How producers choose the partition of a record by its key."""

    MURMUR2 = "murmur2"
    """Kafka's Java client, aiokafka and kafka-python; librdkafka with ``murmur2_random``."""
    CRC32 = "crc32"
    """librdkafka's own (``consistent_random``), so confluent-kafka and the clients built on it."""

    @property
    def other(self) -> "Partitioner":
        """The other one of the two."""
        return Partitioner.CRC32 if self is Partitioner.MURMUR2 else Partitioner.MURMUR2


def murmur2(key: bytes) -> int:
    """MurmurHash2 as an unsigned 32-bit number.

    >>> murmur2(b"foobar") - 2**32
    -790332482
    """
    out = np.empty(1, dtype=np.int64)
    _murmur2_of_pieces(_bytes(key), np.array([len(key)]), 0, out)
    return int(out[0])


def crc32(key: bytes) -> int:
    """CRC-32 as an unsigned 32-bit number.

    >>> hex(crc32(b"hejsan"))
    '0xd077037e'
    """
    out = np.empty(1, dtype=np.int64)
    _crc32_of_pieces(_bytes(key), np.array([len(key)]), 0, _CRC32_OF_BYTES, out)
    return int(out[0])


def partition_of(
    key: bytes, partitions: int, partitioner: Partitioner = Partitioner.MURMUR2
) -> int:
    """The partition of `key` in a topic of that many partitions.

    >>> partition_of(b"foobar", 4), partition_of(b"foobar", 4, Partitioner.CRC32)
    (2, 1)
    """
    if partitioner is Partitioner.CRC32:
        return crc32(key) % partitions
    return (murmur2(key) & _POSITIVE) % partitions


def partitions_of(
    keys: Sequence[bytes], partitions: int, partitioner: Partitioner = Partitioner.MURMUR2
) -> Ints:
    """int64[n]: `partition_of` of each key, many at once.

    >>> partitions_of([b"foobar", b"kafka"], 4).tolist()
    [2, 0]
    """
    ends = np.cumsum(np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))
    return _partitions(_bytes(b"".join(keys)), ends, 0, partitions, partitioner)


def partitions_of_texts(texts: Sequence[str], partitions: int, partitioner: Partitioner) -> Ints:
    """int64[n]: the partitions of keys that are texts in UTF-8, encoded together.

    >>> partitions_of_texts(["foobar", "kafka"], 4, Partitioner.MURMUR2).tolist()
    [2, 0]
    """
    data, ends = _bytes(SEPARATOR.join(texts).encode()), np.empty(len(texts), dtype=np.int64)
    if not find_ends(data, ends):  # no text at all, or one that holds the separator itself
        return partitions_of([text.encode() for text in texts], partitions, partitioner)
    return _partitions(data, ends, 1, partitions, partitioner)


def _partitions(
    data: NDArray[np.uint8], ends: Ints, gap: int, partitions: int, partitioner: Partitioner
) -> Ints:
    """int64[n]: the partitions of the pieces of `data` (see `_murmur2_of_pieces`)."""
    out = np.empty(len(ends), dtype=np.int64)
    if partitioner is Partitioner.CRC32:
        _crc32_of_pieces(data, ends, gap, _CRC32_OF_BYTES, out)
        return out % partitions
    _murmur2_of_pieces(data, ends, gap, out)
    return (out & _POSITIVE) % partitions


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8) if data else _NOTHING


def _crc32_of_bytes() -> Ints:
    """int64[256]: the CRC-32 register after each byte, by Sarwate's algorithm."""
    found = np.arange(256, dtype=np.int64)
    for _ in range(8):
        found = np.where(found & 1, (found >> 1) ^ _CRC32_POLYNOMIAL, found >> 1)
    return found


_CRC32_OF_BYTES = _crc32_of_bytes()


def assign(partitions: int, shards: int) -> list[list[int]]:
    """The partitions of each shard: each partition once, their numbers differ by 1 at most.

    >>> assign(5, 2)
    [[0, 2, 4], [1, 3]]
    """
    return [list(range(shard, partitions, shards)) for shard in range(shards)]


@lean_kernel
def _murmur2_of_pieces(data: NDArray[np.uint8], ends: Ints, gap: int, out: Ints) -> None:
    """MurmurHash2 of each piece of `data`.

    Piece ``i`` ends before ``ends[i]``; the next one begins `gap` bytes after that.
    """
    begin = 0
    for i in range(len(ends)):
        end = ends[i]
        hashed = _SEED ^ np.uint64(end - begin)
        whole = begin + ((end - begin) & ~3)
        for at in range(begin, whole, 4):
            block = np.uint64(0)
            for byte in range(4):
                block |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            block = (block * _MULTIPLIER) & _WORD
            block = ((block ^ (block >> np.uint64(24))) * _MULTIPLIER) & _WORD
            hashed = ((hashed * _MULTIPLIER) & _WORD) ^ block
        if whole < end:
            for at in range(whole, end):
                hashed ^= np.uint64(data[at]) << np.uint64(8 * (at - whole))
            hashed = (hashed * _MULTIPLIER) & _WORD
        hashed = ((hashed ^ (hashed >> np.uint64(13))) * _MULTIPLIER) & _WORD
        out[i] = hashed ^ (hashed >> np.uint64(15))
        begin = end + gap


@lean_kernel
def _crc32_of_pieces(
    data: NDArray[np.uint8], ends: Ints, gap: int, of_bytes: Ints, out: Ints
) -> None:
    """CRC-32 of each piece of `data` (see `_murmur2_of_pieces`); `of_bytes` is its table."""
    begin = 0
    for i in range(len(ends)):
        register = 0xFFFFFFFF
        for at in range(begin, ends[i]):
            register = of_bytes[(register ^ data[at]) & 0xFF] ^ (register >> 8)
        out[i] = register ^ 0xFFFFFFFF
        begin = ends[i] + gap
