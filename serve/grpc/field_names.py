"""What the fields of a message are called, and their numbers.

A number is a hash of the name: it stays when fields are added before it, or a pipeline names
them in another order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from zlib import crc32

# Numbers up to here take three bytes with the type of a field; some are reserved for protobuf.
_LARGEST_NUMBER = 2**18 - 1
_RESERVED = range(19_000, 20_000)


def field_numbers(names: Iterable[str], digest: Callable[[bytes], int] = crc32) -> dict[str, int]:
    """The number of each field: a hash of its name, or the next one that is free.

    >>> field_numbers(["user", "k"])["k"] == field_numbers(["k", "price", "user"])["k"]
    True
    """
    taken: dict[int, str] = {}
    for name in sorted(names):
        number = digest(name.encode()) % _LARGEST_NUMBER + 1
        while number in taken or number in _RESERVED:
            number = number % _LARGEST_NUMBER + 1
        taken[number] = name
    return {name: number for number, name in taken.items()}


def identifiers_of(names: Iterable[str]) -> dict[str, str]:
    """What each field is called where only ASCII letters, digits and underscores are allowed."""
    taken: dict[str, str] = {}
    for name in sorted(names, key=lambda one: (not one.isidentifier(), one)):
        plain = re.sub(r"\W", "_", name, flags=re.ASCII)
        first = plain if plain[:1].isalpha() else f"f{plain}"
        found, number = first, 2
        while found in taken:
            found, number = f"{first}_{number}", number + 1
        taken[found] = name
    return {name: identifier for identifier, name in taken.items()}
