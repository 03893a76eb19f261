"""Lock-step: the order in which a recorded log is read and learned follows from its offsets alone.

The log of a partition is cut into *cells*: so many events, then the impressions whose records are
not later than the last of them. A span ends where a cell ends. All spans have one order, by the
number of the cell they end in, then by partition: each is differentiated at the weights that all
spans before it gave. So whoever crashes, and however far back a restart begins, the same gradients
are stepped in the same order, and the weights are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from freshrank.actors.messages import RecordBatch, SourceOffsets
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.partition.partition import PartitionState

# Events between two versions of the weights: a live system at 1,000 events/s steps as often.
CELL_EVENTS = 64


class Turn(NamedTuple):
    """What is done next; the least one is."""

    cell: int
    partition: int
    until: SourceOffsets | None
    """How far the partition is to be read; None: it has a span that the learner has to be given."""


class Cells:
    """The cells of a recorded log, each of `size` events of one partition.

    The last cell of a partition ends where its topics end, so what is recorded has to be there.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str], size: int = CELL_EVENTS) -> None:
        self._log = log
        self._topics = topics
        self._size = size

    def end(self, partition: int, begin: SourceOffsets) -> SourceOffsets | None:
        """Where the cell that begins at `begin` ends; None at the end of the log."""
        ends = {topic: self._log.end(topic, partition) for topic in self._topics}
        first, *others = self._topics
        events = min((begin[first] // self._size + 1) * self._size, ends[first])
        if events == ends[first]:
            end = SourceOffsets(ends)
            return end if end != begin else None
        (last_ms,) = self._log.read(first, partition, events - 1, 1).timestamps_ms
        for topic in others:
            ends[topic] = self._log.first_after(topic, partition, begin[topic], int(last_ms))
        return SourceOffsets({**ends, first: events})

    def next_turn(self, states: Iterable[PartitionState]) -> Turn | None:
        """Whose turn it is among `states`, which know how far the learner is; None: all is done."""
        turns = [turn for turn in map(self._turn, states) if turn is not None]
        return min(turns, key=lambda turn: turn[:2], default=None)

    def _turn(self, state: PartitionState) -> Turn | None:
        ready = None if state.replaying else state.example_queue.next_end
        if ready is not None:
            return Turn((ready[self._topics[0]] - 1) // self._size, state.partition, None)
        until = self.end(state.partition, state.offsets)
        if until is None:
            return None
        return Turn(state.offsets[self._topics[0]] // self._size, state.partition, until)


class CellSource(MemorySource):
    """Gives what a turn reads, all of it at once, and nothing else.

    Nobody waits here: what bounds the memory is the size of a cell.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str]) -> None:
        super().__init__(log)
        self._topics = topics
        self._turn: Turn | None = None

    def give(self, turn: Turn) -> None:
        """What the next poll reads."""
        self._turn = turn

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The records of the turn, those of the first topic first."""
        turn, self._turn = self._turn, None
        if turn is None or turn.until is None:
            return []
        batches = []
        for topic in self._topics:
            begin, end = self._positions[topic, turn.partition], turn.until[topic]
            if end > begin:
                batches.append(self._log.read(topic, turn.partition, begin, end - begin))
                self._positions[topic, turn.partition] = end
        return batches
