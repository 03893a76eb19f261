"""A generated stream whose world changes: numbers that move, and tastes that turn."""

from __future__ import annotations

import functools
import operator

from freshrank.benchmarks.online.stream_file import LabelledStream
from freshrank.benchmarks.robust.streams import LAYOUT, honest


def drifting(rows: int) -> LabelledStream:
    """About `rows` rows in four parts: as it is, numbers moved, tastes reversed, as it was.

    >>> stream = drifting(8)
    >>> len(stream.rows), sorted(stream.rows[0]), stream.labels.shape
    (8, ['a', 'b', 'c', 'd', 'item', 'user'], (8,))
    """
    part = rows // 4
    parts = (
        honest(part, 11),
        honest(part, 12, moved=1.0),
        honest(part, 13, flip=True),
        honest(part, 14),
    )
    whole = functools.reduce(operator.add, parts)
    names = [field.name for field in LAYOUT.fields]
    found = [
        dict(zip(LAYOUT.dense, numbers, strict=True)) | dict(zip(names, map(str, ids), strict=True))
        for numbers, ids in zip(whole.inputs.dense.tolist(), whole.inputs.ids.tolist(), strict=True)
    ]
    return LabelledStream("drifting", "binary", (), found, whole.labels)
