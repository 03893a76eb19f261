"""Labelled rows on their way to the learner, kept until a checkpoint of it covers them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import (
    BEGINNING,
    Examples,
    Inputs,
    Ints,
    OffsetRange,
    Progress,
    SourceOffsets,
    dominates,
)
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows

# A span is closed when it holds so many examples: a gradient is then worth its message. It is one
# step of the learner, so what has waited while that was away is learned as finely as the rest:
# measured on Criteo, steps of 512 learn as well as steps of 64 (AUC 0.702 and 0.703 over the first
# 200,000), steps of 4,096 do not (0.691).
SPAN_EXAMPLES = 512


@dataclass(frozen=True, slots=True)
class _Segment:
    begin: SourceOffsets
    end: SourceOffsets
    rows: LabelledRows


class ExampleQueue:
    """The examples of one partition, in closed spans and one open one.

    A span is closed when it is offered (or grows too long); from then on its bounds are fixed,
    so that it can be offered again after either side has crashed.

    Parameters
    ----------
    partition
        Named in every span.
    topics
        The source topics: the columns of the offsets in `freeze`.
    dense_width, id_width
        ``d`` and ``f`` of the input layout.
    begin
        Where the first span begins.
    """

    def __init__(
        self,
        partition: int,
        topics: Sequence[str],
        dense_width: int,
        id_width: int,
        begin: SourceOffsets = BEGINNING,
    ) -> None:
        self._partition = partition
        self._topics = topics
        self._widths = (dense_width, id_width)
        self._closed: list[_Segment] = []
        self._sent = 0  # so many of the closed ones has the learner applied
        self._open: list[LabelledRows] = []
        self._open_begin = begin
        self._end = begin
        self._floor: SourceOffsets | None = None
        self.examples = 0
        """How many are kept."""

    @property
    def nbytes(self) -> int:
        """Memory held by the rows."""
        dense_width, id_width = self._widths
        return self.examples * (8 + 4 * dense_width + 8 * id_width + 4 + 8)

    @property
    def unsent(self) -> int:
        """How many examples the learner has not applied."""
        return self.examples - sum(len(one.rows) for one in self._closed[: self._sent])

    @property
    def next_end(self) -> SourceOffsets | None:
        """Where the span ends that is offered next; None when there is none."""
        if self._sent < len(self._closed):
            return self._closed[self._sent].end
        return self._end if self._open else None

    def extend(self, rows: LabelledRows, end: SourceOffsets) -> None:
        """Add the examples that the records up to `end` gave."""
        self._end = end
        if self._floor is not None:
            self._open_begin = end
            if end == self._floor:
                self._floor = None
            return
        if len(rows) > 0:
            self._open.append(rows)
            self.examples += len(rows)
            if sum(map(len, self._open)) >= SPAN_EXAMPLES:
                self.close()

    def close(self) -> None:
        """End the open span at the present offsets."""
        if self._end == self._open_begin:
            return
        rows = LabelledRows.join(self._open, *self._widths)
        ordered = rows.take(np.argsort(rows.order, kind="stable"))
        self._closed.append(_Segment(self._open_begin, self._end, ordered))
        self._open, self._open_begin = [], self._end

    def offer(self) -> Examples | None:
        """The next span to push, the same one until `answer` says that it was applied."""
        if self._sent == len(self._closed):
            if not self._open:
                return None
            self.close()
        segment = self._closed[self._sent]
        return Examples(
            OffsetRange(self._partition, segment.begin, segment.end, first=self._sent == 0),
            Inputs(segment.rows.dense, segment.rows.ids),
            segment.rows.labels,
            segment.rows.event_times_ms,
        )

    def answer(self, progress: Progress) -> None:
        """Go on from where the learner is, and forget what a checkpoint covers.

        Raises ProgressError when its offsets are no bound of a span kept here: then this state
        cannot serve it, and an older snapshot has to.
        """
        if not progress.applied:
            self._sent = 0
            return
        self._sent = self._bound(progress.applied)
        while self._sent and progress.durable and dominates(progress.durable, self._closed[0].end):
            self.examples -= len(self._closed.pop(0).rows)
            self._sent -= 1

    def can_serve(self, applied: SourceOffsets) -> bool:
        """Whether the learner can go on from `applied`, perhaps after reading up to it."""
        if not applied or dominates(applied, self._end):
            return True
        return any(applied == bound for bound in self._bounds())

    def resume(self, progress: Progress) -> list[SourceOffsets]:
        """Begin again beside a learner; gives the offsets at which reading has to stop exactly.

        What lies below the durable offsets is never kept, what lies between these and the applied
        ones is kept as sent. Raises ProgressError where `can_serve` is False.
        """
        applied, durable = progress.applied, progress.durable
        if not applied or not dominates(applied, self._end) or applied in self._bounds():
            self.answer(progress)
            return []
        self._sent = len(self._closed)
        stops = [applied]
        if durable and dominates(durable, self._end):
            self._closed, self._open, self._sent, self.examples = [], [], 0, 0
            if durable != self._end:
                self._floor = durable
                stops = [durable, *stops] if durable != applied else stops
            self._open_begin = self._end
        return stops

    def reach(self) -> None:
        """The applied offsets are reached: what came up to here has been sent."""
        self.close()
        self._sent = len(self._closed)

    def freeze(self) -> StateView:
        """The state of now, for a snapshot: rows of all spans (the open one last), their bounds."""
        closed, opened = list(self._closed), list(self._open)
        begin, end, widths = self._open_begin, self._end, self._widths

        def arrays() -> dict[str, Array]:
            segments = [*closed, _Segment(begin, end, LabelledRows.join(opened, *widths))]
            rows = LabelledRows.join([one.rows for one in segments], *widths)
            return {
                "begins": self._columns([one.begin for one in segments]),
                "ends": self._columns([one.end for one in segments]),
                "counts": np.array([len(one.rows) for one in segments], dtype=np.int64),
                "order": rows.order,
                "dense": rows.dense,
                "ids": rows.ids,
                "labels": rows.labels,
                "event_times_ms": rows.event_times_ms,
            }

        return arrays

    def load(self, arrays: Mapping[str, Array], topics: Sequence[str]) -> None:
        """Become the state whose frozen `arrays` these are (nothing counts as sent).

        `topics` are those of the queue that was frozen: the columns of its offsets.
        """
        rows = LabelledRows(
            arrays["order"],
            arrays["dense"],
            arrays["ids"],
            arrays["labels"],
            arrays["event_times_ms"],
        )
        ends = np.cumsum(arrays["counts"])
        segments = [
            _Segment(
                SourceOffsets.from_json(begin, topics),
                SourceOffsets.from_json(end, topics),
                rows.take(slice(last - count, last)),
            )
            for begin, end, count, last in zip(
                arrays["begins"].tolist(),
                arrays["ends"].tolist(),
                arrays["counts"].tolist(),
                ends.tolist(),
                strict=True,
            )
        ]
        self._closed, last = segments[:-1], segments[-1]
        self._open = [last.rows] if len(last.rows) else []
        self._open_begin, self._end = last.begin, last.end
        self._sent, self._floor = 0, None
        self.examples = len(rows)

    def _columns(self, offsets: Sequence[SourceOffsets]) -> Ints:
        """int64[s, topics]."""
        return np.array([[one[topic] for topic in self._topics] for one in offsets], dtype=np.int64)

    def _bounds(self) -> list[SourceOffsets]:
        return [*(one.begin for one in self._closed), self._open_begin]

    def _bound(self, applied: SourceOffsets) -> int:
        bounds = self._bounds()
        if applied not in bounds:
            raise ProgressError(
                f"partition {self._partition}: the learner has applied up to ({applied}), "
                f"which is no bound of a span between ({bounds[0]}) and ({self._end})"
            )
        return bounds.index(applied)
