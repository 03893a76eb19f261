"""States as they were at one moment, and texts as arrays: what snapshots are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.snapshots.file_format import Array

StateView: TypeAlias = Callable[[], dict[str, Array]]
"""Gives the arrays of a state as it was when this was made, whatever has become of it since.

Made in little time, between two batches; called in another thread, where most of the work is.
"""

# Texts joined at once: while that goes on nothing else runs, for a tenth of a millisecond.
_AT_ONCE = 4096


def text_arrays(texts: Sequence[str]) -> tuple[Array, Ints]:
    r"""The texts as UTF-8, one zero byte between two, and where each ends.

    >>> text, ends = text_arrays(["ab", "", "c"])
    >>> text.tobytes(), ends.tolist()
    (b'ab\x00\x00c', [2, 3, 5])
    """
    parts = ["\0".join(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
    text = np.frombuffer(b"\0".join(part.encode() for part in parts), dtype=np.uint8)
    ends = np.append(np.flatnonzero(text == 0), len(text)) if texts else np.zeros(0, np.int64)
    if len(ends) != len(texts):  # a text holds a zero byte itself
        lengths = np.array([len(one.encode()) for one in texts], dtype=np.int64)
        ends = np.cumsum(lengths + 1) - 1
    return text, ends


def texts_of(text: Array, ends: Ints) -> list[str]:
    """The texts that `text_arrays` was given."""
    whole = text.tobytes()
    if len(ends) == 0:
        return []
    if whole.count(0) == len(ends) - 1:
        return whole.decode().split("\0")
    begins = [0, *(ends[:-1] + 1).tolist()]
    return [whole[a:b].decode() for a, b in zip(begins, ends.tolist(), strict=True)]
