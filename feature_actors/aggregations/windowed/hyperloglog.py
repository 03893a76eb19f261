"""HyperLogLog: how many different ids there were, from the runs of zeros in their hashes.

Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
estimation algorithm", AofA 2007. Each of ``m`` registers keeps the longest run of zeros among the
ids whose hash begins with its number; few ids are counted by the registers without any (linear
counting). The standard error is ``1.04 / sqrt(m)``. Eight registers of 8 bits share a word.
"""

from __future__ import annotations

import math

import numpy as np

from freshrank.actors.kernels.compile import inlined, subkernel
from freshrank.actors.kernels.hashing import mix
from freshrank.actors.messages import Ints

_ERROR_OF_ONE = 1.04
_FEWEST_BITS = 4
"""With fewer than 16 registers an estimate is of no use."""

# Of a mixed id all bits count but the sign.
_BITS, _WITHOUT_SIGN = 63, (1 << 63) - 1

REGISTERS_IN_WORD, _BITS_OF_REGISTER = 8, 8


def registers_for(error: float) -> int:
    """The number of registers, a power of 2, whose standard error is at most `error`.

    >>> registers_for(0.1), registers_for(0.05)
    (128, 512)
    """
    return 1 << max(_FEWEST_BITS, math.ceil(2.0 * math.log2(_ERROR_OF_ONE / error)))


@inlined
def _register(longs: Ints, row: int, begin: int, number: int) -> int:
    word = longs[row, begin + number // REGISTERS_IN_WORD]
    run: int = (word >> (_BITS_OF_REGISTER * (number % REGISTERS_IN_WORD))) & 0xFF
    return run


@subkernel
def add_id(longs: Ints, row: int, begin: int, registers: int, key: int) -> None:
    """Count an id in the registers that begin with word `begin`."""
    # Integers are ids as they are: of a mixed one each bit depends on all.
    mixed = int(mix(np.int64(0), np.int64(key))) & _WITHOUT_SIGN
    number, rest = mixed & (registers - 1), mixed // registers
    run = 1
    while rest & 1 == 0 and run < _BITS:
        rest >>= 1
        run += 1
    if run > _register(longs, row, begin, number):
        shift = _BITS_OF_REGISTER * (number % REGISTERS_IN_WORD)
        word = longs[row, begin + number // REGISTERS_IN_WORD]
        cleared = word & ~(0xFF << shift)
        longs[row, begin + number // REGISTERS_IN_WORD] = cleared | (run << shift)


@subkernel
def estimate(longs: Ints, row: int, begins: tuple[int, int], ring: tuple[int, int, int]) -> float:
    """The number of different ids in the tiles first to last of a ring of sketches.

    `begins` is the first word of the ring and the number of registers a tile; `ring` the number of
    tiles, and the first and the last one that count.
    """
    begin, registers = begins
    size, first, last = ring
    words, harmonic, empty = registers // REGISTERS_IN_WORD, 0.0, 0
    for number in range(registers):
        longest = 0
        for tile in range(first, last + 1):
            here = _register(longs, row, begin + tile % size * words, number)
            longest = max(longest, here)
        harmonic += 2.0**-longest
        empty += longest == 0
    raw = _scale(registers) * registers * registers / harmonic
    if raw <= 2.5 * registers and empty > 0:
        return registers * math.log(registers / empty)
    return raw


@inlined
def _scale(registers: int) -> float:
    """What makes the harmonic mean unbiased."""
    if registers <= 16:
        return 0.673
    if registers <= 32:
        return 0.697
    if registers <= 64:
        return 0.709
    return 0.7213 / (1.0 + 1.079 / registers)
