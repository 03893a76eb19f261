"""Which partition a key belongs to, and which shard owns which partitions.

The hash is the one of Kafka's Java client (and of aiokafka's default partitioner), so that
records produced by anybody's client meet the state kept here.
"""

from collections.abc import Sequence

import numpy as np

from freshrank.actors.kernels.compile import kernel
from freshrank.actors.messages import Ints

_WORD = 0xFFFFFFFF
# The constants of MurmurHash2 (Austin Appleby) and the seed that Kafka's client chose
# (org.apache.kafka.common.utils.Utils.murmur2).
_SEED = 0x9747B28C
_MULTIPLIER = 0x5BD1E995


def murmur2(key: bytes) -> int:
    """MurmurHash2 as an unsigned 32-bit number.

    >>> murmur2(b"foobar") - 2**32
    -790332482
    """
    length = len(key)
    hashed = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        block = int.from_bytes(key[at : at + 4], "little") * _MULTIPLIER & _WORD
        block = (block ^ block >> 24) * _MULTIPLIER & _WORD
        hashed = hashed * _MULTIPLIER & _WORD ^ block
    if whole < length:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _MULTIPLIER & _WORD
    hashed = (hashed ^ hashed >> 13) * _MULTIPLIER & _WORD
    return hashed ^ hashed >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of that many partitions.

    >>> partition_of(b"foobar", 4)
    2
    """
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> Ints:
    """int64[n]: `partition_of` each key, many at once."""
    if not keys:
        return np.zeros(0, dtype=np.int64)
    ends = np.cumsum(np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))
    return _partitions(np.frombuffer(b"".join(keys) or b"\0", dtype=np.uint8), ends, partitions)


@kernel
def _partitions(data: np.typing.NDArray[np.uint8], ends: Ints, partitions: int) -> Ints:
    word = np.uint64(_WORD)
    multiplier = np.uint64(_MULTIPLIER)
    found = np.empty(len(ends), dtype=np.int64)
    begin = 0
    for one in range(len(ends)):
        end = ends[one]
        hashed = np.uint64(_SEED) ^ np.uint64(end - begin)
        whole = begin + ((end - begin) & ~3)
        for at in range(begin, whole, 4):
            block = np.uint64(0)
            for byte in range(4):
                block |= np.uint64(data[at + byte]) << np.uint64(8 * byte)
            block = (block * multiplier) & word
            block = ((block ^ (block >> np.uint64(24))) * multiplier) & word
            hashed = ((hashed * multiplier) & word) ^ block
        if whole < end:
            for at in range(whole, end):
                hashed ^= np.uint64(data[at]) << np.uint64(8 * (at - whole))
            hashed = (hashed * multiplier) & word
        hashed = ((hashed ^ (hashed >> np.uint64(13))) * multiplier) & word
        hashed ^= hashed >> np.uint64(15)
        found[one] = np.int64(hashed & np.uint64(0x7FFFFFFF)) % partitions
        begin = end
    return found


def assign(partitions: int, shards: int) -> list[list[int]]:
    """The partitions of each shard: none left out, none twice, loads at most one apart.

    >>> assign(5, 2)
    [[0, 2, 4], [1, 3]]
    """
    return [list(range(shard, partitions, shards)) for shard in range(shards)]
