"""Labelled rows: examples before they belong to an offset range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Floats, Ints


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
    """int64[n]: when the label was known: for a joined one by the log, else the event time."""

    def __len__(self) -> int:
        return len(self.order)

    @classmethod
    def none(cls, dense_width: int, id_width: int) -> LabelledRows:
        """An empty table of rows."""
        return cls(
            np.zeros(0, dtype=np.int64),
            np.zeros((0, dense_width), dtype=np.float32),
            np.zeros((0, id_width), dtype=np.int64),
            np.zeros(0, dtype=np.float32),
            np.zeros(0, dtype=np.int64),
        )

    @classmethod
    def join(cls, parts: Sequence[LabelledRows], dense_width: int, id_width: int) -> LabelledRows:
        """The rows of all `parts`, concatenated."""
        parts = [part for part in parts if len(part) > 0]
        if len(parts) <= 1:
            return parts[0] if parts else cls.none(dense_width, id_width)
        return cls(
            np.concatenate([part.order for part in parts]),
            np.concatenate([part.dense for part in parts]),
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.event_times_ms for part in parts]),
        )

    def take(self, rows: Ints | slice) -> LabelledRows:
        """The rows at `rows`."""
        return LabelledRows(
            self.order[rows],
            self.dense[rows],
            self.ids[rows],
            self.labels[rows],
            self.event_times_ms[rows],
        )
