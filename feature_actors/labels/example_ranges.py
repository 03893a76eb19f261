"""The examples of an offset range, and the form of such ranges in a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Ids, Ints, SourceOffsets
from freshrank.actors.snapshots.file_format import Array
from freshrank.feature_actors.labels.examples import LabelledRows


@dataclass(frozen=True, slots=True)
class ExampleRange:
    """What the records of an offset range gave."""

    begin: SourceOffsets
    end: SourceOffsets
    rows: LabelledRows
    forgotten: Ids
    """See `OffsetRange`."""


def arrays_of(
    ranges: Sequence[ExampleRange], topics: Sequence[str], widths: tuple[int, int]
) -> dict[str, Array]:
    """The arrays of at least one range; `topics` are the columns of its offsets.

    `widths` are ``d`` and ``f`` of the input layout.
    """
    rows = LabelledRows.join([one.rows for one in ranges], *widths)
    ids = [key for one in ranges for key in one.forgotten]
    return {
        "begins": _columns([one.begin for one in ranges], topics),
        "ends": _columns([one.end for one in ranges], topics),
        "counts": np.array([len(one.rows) for one in ranges], dtype=np.int64),
        "forgotten": np.array([len(one.forgotten) for one in ranges], dtype=np.int64),
        "forgotten_ids": np.array(ids, dtype=np.int64),
        **rows.arrays(),
    }


def ranges_of(arrays: Mapping[str, Array], topics: Sequence[str]) -> list[ExampleRange]:
    """The ranges that `arrays_of` made these arrays of."""
    rows, counts = LabelledRows.of_arrays(arrays), arrays["counts"]
    forgotten: list[Ids] = [()] * len(counts)
    if "forgotten" in arrays:  # not in files of before
        parts = np.split(arrays["forgotten_ids"], np.cumsum(arrays["forgotten"])[:-1])
        forgotten = [tuple(part.tolist()) for part in parts]
    bounds = arrays["begins"].tolist(), arrays["ends"].tolist()
    columns = *bounds, counts.tolist(), np.cumsum(counts).tolist(), forgotten
    return [
        ExampleRange(
            SourceOffsets.from_json(begin, topics),
            SourceOffsets.from_json(end, topics),
            rows.take(slice(last - count, last)),
            ids,
        )
        for begin, end, count, last, ids in zip(*columns, strict=True)
    ]


def _columns(offsets: Sequence[SourceOffsets], topics: Sequence[str]) -> Ints:
    """int64[s, topics]."""
    rows = [[reached[topic] for topic in topics] for reached in offsets]
    return np.array(rows, dtype=np.int64)
