"""Labelled rows on their way to the learner, kept until one of its checkpoints contains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np

from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import (
    BEGINNING,
    Examples,
    Ids,
    Inputs,
    OffsetRange,
    SourceOffsets,
    dominates,
)
from freshrank.actors.protocols import Progress
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.actors.transitions import next_state
from freshrank.feature_actors.labels.example_ranges import ExampleRange, arrays_of, ranges_of
from freshrank.feature_actors.labels.examples import LabelledRows, place_of

# An offset range is closed when it holds so many examples: a gradient is then worth its message.
# It is one step of the learner, so what has waited while the learner was away is learned as finely
# as the rest: measured on Criteo, steps of 512 learn as well as steps of 64 (AUC 0.702 and 0.703
# over the first 200,000), steps of 4,096 do not (0.691).
RANGE_EXAMPLES = 512


class QueueState(Enum):
    """Whether added examples are new to the learner, and are kept."""

    LIVE = "live"
    """They are new to the learner."""
    DISCARDING = "discarding"
    """They are read again, and contained in the learner's checkpoint: nothing is kept of them."""
    REBUILDING = "rebuilding"
    """They are read again, and were applied after the learner's checkpoint: they are kept as sent,
    for a learner that has to go back to it."""


class QueueEvent(Enum):
    """The events that change the state of a queue."""

    REPLAY_TO_DURABLE = "replay to the checkpoint"
    """The learner's checkpoint contains more than this queue."""
    REPLAY_TO_APPLIED = "replay to the applied offsets"
    """The learner has applied more than this queue has, or than its checkpoint contains."""
    CAUGHT_UP = "caught up"
    """The offsets that the learner has applied are reached."""


TRANSITIONS: Mapping[QueueState, Mapping[QueueEvent, QueueState]] = {
    QueueState.LIVE: {
        QueueEvent.REPLAY_TO_DURABLE: QueueState.DISCARDING,
        QueueEvent.REPLAY_TO_APPLIED: QueueState.REBUILDING,
    },
    QueueState.DISCARDING: {
        QueueEvent.REPLAY_TO_APPLIED: QueueState.REBUILDING,
        QueueEvent.CAUGHT_UP: QueueState.LIVE,
    },
    QueueState.REBUILDING: {QueueEvent.CAUGHT_UP: QueueState.LIVE},
}


class ExampleQueue:
    """The examples of one partition: those of closed offset ranges, and those of an open one.

    A range is closed when it is first given out, or when it holds `RANGE_EXAMPLES`. From then on
    its bounds are fixed, so that the learner gets the same range after either side has crashed.

    Parameters
    ----------
    partition
        Named in every offset range.
    topics
        The source topics: the columns of the offsets in `freeze`.
    dense_width, id_width
        ``d`` and ``f`` of the input layout.
    begin
        Where the first range begins.
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
        self._closed: list[ExampleRange] = []
        self._sent = 0  # how many of the closed ranges the learner has applied
        self._open: list[LabelledRows] = []
        self._open_forgotten: Ids = ()
        self._open_begin = begin
        self._end = begin
        self._stops: list[SourceOffsets] = []
        self.state = QueueState.LIVE
        self.examples = 0
        """The number of examples kept."""

    @property
    def nbytes(self) -> int:
        """Memory held by the rows."""
        dense_width, id_width = self._widths
        return self.examples * (8 + 4 * dense_width + 8 * id_width + 4 + 8 + 1 + 4 + 4)

    @property
    def unsent(self) -> int:
        """The number of examples that the learner has not applied."""
        return self.examples - sum(len(range_.rows) for range_ in self._closed[: self._sent])

    @property
    def next_end(self) -> SourceOffsets | None:
        """The end of the range that `peek` gives next; None when it gives none."""
        if self._sent < len(self._closed):
            return self._closed[self._sent].end
        return self._end if self._open or self._open_forgotten else None

    @property
    def stop(self) -> SourceOffsets | None:
        """The offsets at which reading has to stop exactly; None while it may go on freely."""
        return self._stops[0] if self._stops else None

    @property
    def replay_target(self) -> SourceOffsets:
        """The offsets to be reached before the learner can be given anything."""
        return self._stops[-1] if self._stops else self._end

    @property
    def awaits_checkpoint(self) -> bool:
        """Whether ranges are kept that the learner has applied."""
        return self._sent > 0

    def extend(self, rows: LabelledRows, end: SourceOffsets, forgotten: Ids = ()) -> None:
        """Add what the records up to `end` gave: examples, and ids that are `forgotten` then."""
        self._end = end
        if self.state is QueueState.DISCARDING:
            self._open_begin = end
        elif len(rows) > 0 or forgotten:
            self._open.append(rows)
            self._open_forgotten += forgotten
            self.examples += len(rows)
            if sum(map(len, self._open)) >= RANGE_EXAMPLES:
                self.close()
        self._pass_stops()

    def close(self) -> None:
        """End the open range at the present offsets."""
        if self._end == self._open_begin:
            return
        rows = LabelledRows.join(self._open, *self._widths)
        ordered = rows.take(np.argsort(rows.order, kind="stable"))
        forgotten = self._open_forgotten
        self._closed.append(ExampleRange(self._open_begin, self._end, ordered, forgotten))
        self._open, self._open_forgotten, self._open_begin = [], (), self._end

    def peek(self) -> Examples | None:
        """The examples to push next, the same until `acknowledge` says that they were applied."""
        if self._sent == len(self._closed):
            if self.next_end is None:
                return None
            self.close()
        segment = self._closed[self._sent]
        rows, bounds = segment.rows, (self._partition, segment.begin, segment.end)
        corrected = bool(rows.corrects.any())
        return Examples(
            OffsetRange(*bounds, first=self._sent == 0, forgotten=segment.forgotten),
            Inputs(rows.dense, rows.ids),
            rows.labels,
            rows.event_times_ms,
            rows.corrects if corrected else None,
            None if np.isnan(rows.served).all() else rows.served,
            place_of(rows.order)[0] if corrected else None,
            None if (rows.weights == 1.0).all() else rows.weights,
        )

    def acknowledge(self, progress: Progress) -> None:
        """Go on from where the learner is, and forget what its checkpoint contains.

        Raises ProgressError when the applied offsets are no bound of a range kept here: then this
        queue cannot serve the learner, and an older snapshot of it has to.
        """
        if not progress.applied:
            self._sent = 0
            return
        self._sent = self._bound(progress.applied)
        while self._sent and progress.durable and dominates(progress.durable, self._closed[0].end):
            self.examples -= len(self._closed.pop(0).rows)
            self._sent -= 1

    def resume(self, progress: Progress) -> None:
        """Start with a learner of this `progress`: read again up to there, where it has more.

        Raises ProgressError when the learner cannot go on from here (see `acknowledge`).
        """
        applied, durable = progress.applied, progress.durable
        if not applied or not dominates(applied, self._end) or applied in self._bounds():
            self.acknowledge(progress)
            return
        contained = bool(durable) and dominates(durable, self._end)  # all that is kept here
        discard = contained and durable != self._end
        self._happen(QueueEvent.REPLAY_TO_DURABLE if discard else QueueEvent.REPLAY_TO_APPLIED)
        if contained:
            self._closed, self._open, self._open_forgotten, self.examples = [], [], (), 0
            self._open_begin = self._end
        self._sent = len(self._closed)
        self._stops = [durable, applied] if discard and durable != applied else [applied]
        self._pass_stops()  # the snapshot may end just where the learner is, within its open range

    def freeze(self) -> StateView:
        """The state of now, for a snapshot: rows and bounds of all ranges, the open one last."""
        closed, opened = list(self._closed), list(self._open)
        begin, end, widths = self._open_begin, self._end, self._widths
        forgotten = self._open_forgotten

        def arrays() -> dict[str, Array]:
            last = ExampleRange(begin, end, LabelledRows.join(opened, *widths), forgotten)
            return arrays_of([*closed, last], self._topics, widths)

        return arrays

    def load(self, arrays: Mapping[str, Array], topics: Sequence[str]) -> None:
        """Become the state whose frozen `arrays` these are (nothing counts as sent).

        `topics` are those of the queue that was frozen: the columns of its offsets.
        """
        *self._closed, last = ranges_of(arrays, topics)
        self._open = [last.rows] if len(last.rows) else []
        self._open_forgotten = last.forgotten
        self._open_begin, self._end = last.begin, last.end
        self._sent = 0
        self.examples = sum(len(range_.rows) for range_ in self._closed) + len(last.rows)

    def _pass_stops(self) -> None:
        """Leave behind the stops that are reached."""
        while self._stops and self._end == self._stops[0]:
            self._stops.pop(0)
            if self._stops:
                self._happen(QueueEvent.REPLAY_TO_APPLIED)
            else:
                self._happen(QueueEvent.CAUGHT_UP)
                self.close()
                self._sent = len(self._closed)

    def _happen(self, event: QueueEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)

    def _bounds(self) -> list[SourceOffsets]:
        return [*(segment.begin for segment in self._closed), self._open_begin]

    def _bound(self, applied: SourceOffsets) -> int:
        bounds = self._bounds()
        near = bounds[self._sent : self._sent + 2]  # where the learner was, or one range further
        if applied in near:
            return self._sent + near.index(applied)
        if applied not in bounds:
            raise ProgressError(
                f"partition {self._partition}: the learner has applied up to ({applied}), "
                f"which is no bound of a range between ({bounds[0]}) and ({self._end})"
            )
        return bounds.index(applied)
