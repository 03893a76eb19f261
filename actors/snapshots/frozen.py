"""Views of a state at a moment, from which snapshots are made; texts as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.actors.snapshots.file_format import Array

StateView: TypeAlias = Callable[[], dict[str, Array]]
"""Returns the arrays of a state as it was when the view was made, whatever has changed since.

A view is made quickly, between two batches, and called in another thread, which does most of the
work.
"""

# Texts joined at once: no other thread runs meanwhile, for a tenth of a millisecond.
_AT_ONCE = 4096


def text_arrays(texts: Sequence[str]) -> tuple[Array, Ints]:
    r"""The texts as UTF-8 with a zero byte between two, and the end of each, int64[n].

    >>> text, ends = text_arrays(["ab", "", "c"])
    >>> text.tobytes(), ends.tolist()
    (b'ab\x00\x00c', [2, 3, 5])
    """
    parts = ["\0".join(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
    text = np.frombuffer(b"\0".join(part.encode() for part in parts), dtype=np.uint8)
    ends = np.append(np.flatnonzero(text == 0), len(text)) if texts else np.zeros(0, np.int64)
    if len(ends) != len(texts):  # a text holds a zero byte itself
        lengths = np.array([len(text_.encode()) for text_ in texts], dtype=np.int64)
        ends = np.cumsum(lengths + 1) - 1
    return text, ends


def texts_of(text: Array, ends: Ints) -> list[str]:
    """The texts from which `text_arrays` made its arrays.

    >>> texts_of(*text_arrays(["ab", "", "c"]))
    ['ab', '', 'c']
    """
    whole = text.tobytes()
    if len(ends) == 0:
        return []
    if whole.count(0) == len(ends) - 1:
        return whole.decode().split("\0")
    begins = [0, *(ends[:-1] + 1).tolist()]
    return [whole[a:b].decode() for a, b in zip(begins, ends.tolist(), strict=True)]
