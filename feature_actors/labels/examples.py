"""Labelled rows: examples before they belong to an offset range."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from freshrank.actors.messages import Bools, Floats, Inputs, Ints
from freshrank.actors.snapshots.file_format import Array

# The place of a shown item in the log is the offset of its record, then its rank among the items
# shown together: 65,536 of them at most, which leaves 47 bits for offsets.
RANK_BITS = 16


def place_of(order: Ints) -> tuple[Ints, Ints]:
    """int64[n], int64[n]: the offset of the impression of shown items, and the rank of each in it.

    `order` int64[n] is that of their `LabelledRows`.
    """
    return order >> RANK_BITS, order & ((1 << RANK_BITS) - 1)


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """``n`` rows that the model may learn from."""

    order: Ints
    """int64[n]: position in the log, by which the examples of an offset range are sorted."""
    dense: Floats
    """float32[n, d]."""
    ids: Ints
    """int64[n, f]."""
    labels: Floats
    """float32[n]."""
    event_times_ms: Ints
    """int64[n]: when a joined item was shown, or its label known; else the event time."""
    corrects: Bools
    """bool[n]: see `Examples`."""
    served: Floats
    """float32[n]: the predictions that were served; NaN for rows that were not served."""
    weights: Floats
    """float32[n]: how many times each counts."""

    def __len__(self) -> int:
        return len(self.order)

    @classmethod
    @functools.cache  # most small batches give none
    def none(cls, dense_width: int, id_width: int) -> LabelledRows:
        """An empty table of rows."""
        inputs = Inputs(
            np.zeros((0, dense_width), dtype=np.float32), np.zeros((0, id_width), dtype=np.int64)
        )
        places = np.zeros(0, dtype=np.int64)
        return cls.not_served(places, inputs, np.zeros(0, dtype=np.float32), places)

    @classmethod
    def not_served(
        cls,
        order: Ints,
        inputs: Inputs,
        labels: Floats,
        event_times_ms: Ints,
        weights: Floats | None = None,
    ) -> LabelledRows:
        """Rows that were never served, each with its final label; None: all count once."""
        none, unknown = np.zeros(len(order), np.bool_), np.full(len(order), np.nan, np.float32)
        counts = np.ones(len(order), np.float32) if weights is None else weights
        return cls(order, inputs.dense, inputs.ids, labels, event_times_ms, none, unknown, counts)

    @classmethod
    def join(cls, parts: Sequence[LabelledRows], dense_width: int, id_width: int) -> LabelledRows:
        """The rows of all `parts`, concatenated."""
        parts = [part for part in parts if len(part) > 0]
        if len(parts) <= 1:
            return parts[0] if parts else cls.none(dense_width, id_width)
        columns = zip(*(part.arrays().values() for part in parts), strict=True)
        return cls(*map(np.concatenate, columns))

    def take(self, rows: Ints | slice) -> LabelledRows:
        """The rows at `rows`."""
        return LabelledRows(*(column[rows] for column in self.arrays().values()))

    def arrays(self) -> dict[str, Array]:
        """The columns by name, for a snapshot."""
        return {
            "order": self.order,
            "dense": self.dense,
            "ids": self.ids,
            "labels": self.labels,
            "event_times_ms": self.event_times_ms,
            "corrects": self.corrects,
            "served": self.served,
            "weights": self.weights,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Array]) -> LabelledRows:
        """The rows of a snapshot; those of the versions before lack the last columns."""
        inputs, weights = Inputs(arrays["dense"], arrays["ids"]), arrays.get("weights")
        rows = cls.not_served(
            arrays["order"], inputs, arrays["labels"], arrays["event_times_ms"], weights
        )
        if "served" not in arrays:
            return rows
        return replace(rows, corrects=arrays["corrects"], served=arrays["served"])


def served_examples(
    columns: Mapping[str, Array], label: float, known_ms: Ints, *, corrects: bool
) -> LabelledRows:
    """Examples of served items with these columns: ``order``, ``dense``, ``ids`` and ``served``.

    `known_ms` int64[n] is when each label is known. What `corrects` is only what was learned as
    negative before.
    """
    served = columns["served"]
    return LabelledRows(
        columns["order"],
        columns["dense"],
        columns["ids"],
        np.full(len(served), label, dtype=np.float32),
        known_ms,
        ~np.isnan(served) if corrects else np.zeros(len(served), dtype=np.bool_),
        served,
        np.ones(len(served), dtype=np.float32),
    )
