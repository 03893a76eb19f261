"""Which partition a key belongs to, and which shard owns which partitions.

The hash is that of Kafka's Java client (and of aiokafka's default partitioner), so that
records that any client produces meet the state that is kept here.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Ints

# The constants of MurmurHash2 (Austin Appleby) and the seed that Kafka's client chose
# (org.apache.kafka.common.utils.Utils.murmur2).
_SEED = np.uint64(0x9747B28C)
_MULTIPLIER = np.uint64(0x5BD1E995)
_WORD = np.uint64(0xFFFFFFFF)  # numba widens 32-bit arithmetic, so products are cut to 32 bits

_POSITIVE = 0x7FFFFFFF  # the client drops the sign bit

_NOTHING = np.zeros(1, dtype=np.uint8)


def murmur2(key: bytes) -> int:
    """MurmurHash2 as an unsigned 32-bit number.

    >>> murmur2(b"foobar") - 2**32
    -790332482
    """
    out = np.empty(1, dtype=np.int64)
    _hash_pieces(_bytes(key), np.array([len(key)]), out)
    return int(out[0])


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` in a topic of that many partitions.

    >>> partition_of(b"foobar", 4)
    2
    """
    return (murmur2(key) & _POSITIVE) % partitions


def partitions_of(keys: Sequence[bytes], partitions: int) -> Ints:
    """int64[n]: `partition_of` of each key, many at once.

    >>> partitions_of([b"foobar", b"kafka"], 4).tolist()
    [2, 0]
    """
    out = np.empty(len(keys), dtype=np.int64)
    ends = np.cumsum(np.fromiter(map(len, keys), dtype=np.int64, count=len(keys)))
    _hash_pieces(_bytes(b"".join(keys)), ends, out)
    return (out & _POSITIVE) % partitions


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8) if data else _NOTHING


def assign(partitions: int, shards: int) -> list[list[int]]:
    """The partitions of each shard: each partition once, their numbers differ by 1 at most.

    >>> assign(5, 2)
    [[0, 2, 4], [1, 3]]
    """
    return [list(range(shard, partitions, shards)) for shard in range(shards)]


@lean_kernel
def _hash_pieces(data: NDArray[np.uint8], ends: Ints, out: Ints) -> None:
    """MurmurHash2 of each piece of `data`; piece ``i`` ends before ``ends[i]``."""
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
        begin = end
