"""Strings and integers as 64-bit ids, alike in every process and on every machine.

Text is xxHash64 (Y. Collet, https://xxhash.com) of its UTF-8 bytes, read as a signed integer.
The id 0 means *absent* everywhere, so no value hashes to it.
"""

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray

from freshrank.actors.kernels.compile import lean_kernel
from freshrank.actors.messages import Ints

ABSENT = 0
"""The id of an absent value."""

ZERO_INTEGER_ID = -7046029254386353131
"""The id of the integer 0, since 0 means absent: 2**64 divided by the golden ratio."""

SEPARATOR = "\0"
"""Joins texts for one encoding; the rarest character there is in practice."""

# The primes of xxHash64, as its specification gives them.
_PRIME_1 = np.uint64(0x9E3779B185EBCA87)
_PRIME_2 = np.uint64(0xC2B2AE3D27D4EB4F)
_PRIME_3 = np.uint64(0x165667B19E3779F9)
_PRIME_4 = np.uint64(0x85EBCA77C2B2AE63)
_PRIME_5 = np.uint64(0x27D4EB2F165667C5)

# The multipliers and shifts of splitmix64's output function (Steele, Lea, Flood: "Fast
# splittable pseudorandom number generators", OOPSLA 2014).
_SPLITMIX_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_SPLITMIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_SPLITMIX_2 = np.uint64(0x94D049BB133111EB)


def hash_text(text: str) -> int:
    """The id of a text.

    >>> hash_text("view") == int(hash_texts(["view"])[0])
    True
    """
    digest = xxhash.xxh64_intdigest(text.encode())
    signed = digest - (1 << 64) if digest >= 1 << 63 else digest
    return signed or 1


def hash_texts(texts: Sequence[str]) -> Ints:
    """The ids int64[n] of many texts, encoded together and hashed by a kernel."""
    out = np.empty(len(texts), dtype=np.int64)
    if len(texts) == 0:
        return out
    joined = np.frombuffer(SEPARATOR.join(texts).encode(), dtype=np.uint8)
    if not hash_joined(joined, out):  # a text holds the separator itself
        out[:] = [hash_text(text) for text in texts]
    return out


def hash_ints(values: Ints) -> Ints:
    """The ids int64[n] of integers: themselves, but for 0.

    >>> hash_ints(np.array([7, 0])).tolist() == [7, ZERO_INTEGER_ID]
    True
    """
    # Zeros are rare, and to count them costs a tenth of `np.where`.
    if np.count_nonzero(values) == values.size:
        return values
    return np.where(values == 0, ZERO_INTEGER_ID, values)


@lean_kernel
def _rotate(value: np.uint64, left: np.uint64) -> np.uint64:
    return (value << left) | (value >> (np.uint64(64) - left))


@lean_kernel
def _four(data: NDArray[np.uint8], at: int) -> np.uint64:
    """Four bytes, little-endian."""
    return (
        np.uint64(data[at])
        | (np.uint64(data[at + 1]) << np.uint64(8))
        | (np.uint64(data[at + 2]) << np.uint64(16))
        | (np.uint64(data[at + 3]) << np.uint64(24))
    )


@lean_kernel
def _eight(data: NDArray[np.uint8], at: int) -> np.uint64:
    """Eight bytes, little-endian."""
    return _four(data, at) | (_four(data, at + 4) << np.uint64(32))


@lean_kernel
def _round(state: np.uint64, lane: np.uint64) -> np.uint64:
    return _rotate(state + lane * _PRIME_2, np.uint64(31)) * _PRIME_1


@lean_kernel
def _merge(state: np.uint64, lane: np.uint64) -> np.uint64:
    return (state ^ _round(np.uint64(0), lane)) * _PRIME_1 + _PRIME_4


@lean_kernel
def _xxh64(data: NDArray[np.uint8], begin: int, end: int) -> np.int64:
    """xxHash64, seed 0, of ``data[begin:end]``; 0 becomes 1."""
    at = begin
    if end - begin >= 32:
        first, second = _PRIME_1 + _PRIME_2, _PRIME_2
        third, fourth = np.uint64(0), np.uint64(0) - _PRIME_1
        while at + 32 <= end:
            first = _round(first, _eight(data, at))
            second = _round(second, _eight(data, at + 8))
            third = _round(third, _eight(data, at + 16))
            fourth = _round(fourth, _eight(data, at + 24))
            at += 32
        state = _rotate(first, np.uint64(1)) + _rotate(second, np.uint64(7))
        state += _rotate(third, np.uint64(12)) + _rotate(fourth, np.uint64(18))
        state = _merge(_merge(_merge(_merge(state, first), second), third), fourth)
    else:
        state = _PRIME_5
    state += np.uint64(end - begin)
    while at + 8 <= end:
        state ^= _round(np.uint64(0), _eight(data, at))
        state = _rotate(state, np.uint64(27)) * _PRIME_1 + _PRIME_4
        at += 8
    if at + 4 <= end:
        state ^= _four(data, at) * _PRIME_1
        state = _rotate(state, np.uint64(23)) * _PRIME_2 + _PRIME_3
        at += 4
    while at < end:
        state ^= np.uint64(data[at]) * _PRIME_5
        state = _rotate(state, np.uint64(11)) * _PRIME_1
        at += 1
    state = (state ^ (state >> np.uint64(33))) * _PRIME_2
    state = (state ^ (state >> np.uint64(29))) * _PRIME_3
    state ^= state >> np.uint64(32)
    if state == np.uint64(0):
        return np.int64(1)
    return np.int64(state)


@lean_kernel
def find_ends(data: NDArray[np.uint8], ends: Ints) -> bool:
    """The ends of the pieces of `data` between zero bytes; False if their number differs."""
    piece = 0
    for at in range(len(data)):
        if data[at] == 0:
            if piece >= len(ends) - 1:
                return False
            ends[piece] = at
            piece += 1
    if piece != len(ends) - 1:
        return False
    ends[piece] = len(data)
    return True


@lean_kernel
def hash_joined(data: NDArray[np.uint8], out: Ints) -> bool:
    """Hash the pieces of `data` between zero bytes into `out`; False if their number differs."""
    if not find_ends(data, out):
        return False
    begin = 0
    for piece in range(len(out)):
        end = out[piece]
        out[piece] = _xxh64(data, begin, end)
        begin = end + 1
    return True


@lean_kernel
def mix(salt: np.int64, value: np.int64) -> np.int64:
    """A well-spread id from two integers (the order matters); never 0."""
    state = np.uint64(salt) * _PRIME_1 + np.uint64(value) + _SPLITMIX_GAMMA
    state = (state ^ (state >> np.uint64(30))) * _SPLITMIX_1
    state = (state ^ (state >> np.uint64(27))) * _SPLITMIX_2
    state ^= state >> np.uint64(31)
    if state == np.uint64(0):
        return np.int64(1)
    return np.int64(state)


@lean_kernel
def mix_columns(left: Ints, right: Ints, salts: Ints, out: Ints) -> None:
    """Salt the ids `left` int64[n, f], column by column, into `out` int64[n, f]; 0 stays 0.

    The last ``c`` columns are crossed with `right` int64[n, c]: 0 where either is absent. An id
    that is equal in the row before is copied from there: the candidates of a request share many.
    """
    rows, columns = left.shape
    plain = columns - right.shape[1]
    for i in range(rows):
        for j in range(plain):
            own = left[i, j]
            if own == 0:
                out[i, j] = 0
            elif i > 0 and own == left[i - 1, j]:
                out[i, j] = out[i - 1, j]
            else:
                out[i, j] = mix(salts[j], own)
        for j in range(plain, columns):
            own, other = left[i, j], right[i, j - plain]
            out[i, j] = 0 if own == 0 or other == 0 else mix(mix(salts[j], own), other)


@lean_kernel
def mix_thirds(third: Ints, columns: Ints, out: Ints) -> None:
    """Cross the `columns` int64[c] of `out` int64[n, f] with int64[n, c]; 0 if one is absent."""
    for i in range(len(out)):
        for k in range(len(columns)):
            own, other = out[i, columns[k]], third[i, k]
            out[i, columns[k]] = 0 if own == 0 or other == 0 else mix(own, other)
