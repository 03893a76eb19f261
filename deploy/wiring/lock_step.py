"""Lock-step: a recorded log is read and learned in an order that follows from its offsets alone.

The log of a partition is divided into deterministic batches: a number of events, then the
impressions whose records are not later than the last of these events. An offset range ends where a
batch ends. All ranges are ordered by the number of the batch that they end in, then by partition;
each is differentiated at the weights that all ranges before it led to. So after any crash, and
however far back a restart begins, the same gradients are applied in the same order, and the weights
are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from freshrank.actors.messages import SourceOffsets
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog, MemorySource
from freshrank.feature_actors.partition.partition import PartitionState

BATCH_EVENTS = 64
"""Events between two versions of the weights: at 1,000 events/s a running system steps as often."""


class BatchStep(NamedTuple):
    """One step in lock-step; steps are done in the order of `batch`, then of `partition`."""

    batch: int
    partition: int
    until: SourceOffsets | None
    """The offsets to read the partition to; None: it has an offset range that the learner lacks."""


class DeterministicBatches:
    """The batches of a recorded log, each with `size` events of one partition.

    The last batch of a partition ends where its topics end, so the log must be complete.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str], size: int = BATCH_EVENTS) -> None:
        self._log = log
        self._topics = topics
        self._size = size

    def end(self, partition: int, begin: SourceOffsets) -> SourceOffsets | None:
        """Return the end of the batch that `begin` lies in; None at the end of the log."""
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

    def next_step(self, states: Iterable[PartitionState]) -> BatchStep | None:
        """Return the first step of all `states`; None when everything is read and learned.

        The states must know how far the learner is.
        """
        steps = [step for step in map(self._step, states) if step is not None]
        return min(steps, key=lambda step: step[:2], default=None)

    def _step(self, state: PartitionState) -> BatchStep | None:
        events = self._topics[0]
        unsent = None if state.replaying else state.example_queue.next_end
        if unsent is not None:
            return BatchStep((unsent[events] - 1) // self._size, state.partition, None)
        until = self.end(state.partition, state.offsets)
        if until is None:
            return None
        return BatchStep(state.offsets[events] // self._size, state.partition, until)


class BatchSource(MemorySource):
    """An event source whose poll returns the records of one `BatchStep`, all of them at once.

    `max_records` is ignored: the size of a batch bounds the memory.
    """

    def __init__(self, log: MemoryLog, topics: Sequence[str]) -> None:
        super().__init__(log)
        self._topics = topics
        self._step: BatchStep | None = None

    def give(self, step: BatchStep) -> None:
        """Set the step that the next poll reads."""
        self._step = step

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """Return the records of the step, in the order of the topics; [] without a step."""
        step, self._step = self._step, None
        if step is None or step.until is None:
            return []
        batches = []
        for topic in self._topics:
            begin = self._positions[topic, step.partition]
            end = step.until[topic]
            if end > begin:
                batches.append(self._log.read(topic, step.partition, begin, end - begin))
                self._positions[topic, step.partition] = end
        return batches
