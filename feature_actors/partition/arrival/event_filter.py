"""Decodes the records of a stream, and leaves out those that must not change rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.state.dedup import Deduplicator
from freshrank.feature_actors.state.log_clock import TOLERANCE_MS, LogClock, LogTimes
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.columns import Columns, entity_ids
from freshrank.feature_actors.streams.stream import Stream


class EventFilter:
    """The events that a partition has to apply of a stream's records, with their times in the log.

    Left out, and counted or rejected by their reasons, are records that cannot be decoded or lie in
    another partition than their entity belongs to, events that name no entity of this kind, and
    duplicates.

    Parameters
    ----------
    most_ids
        Event ids that are remembered at most.
    counters
        Of the partition.
    placement
        The partition, whose entities alone may be in it.
    """

    def __init__(
        self, stream: Stream, most_ids: int, counters: Counters, placement: Placement
    ) -> None:
        self._stream = stream
        self._most_ids = most_ids
        self._counters = counters
        self._placement = placement
        self._codec = Codec(stream)
        self._clock = LogClock()
        self._dedup = Deduplicator(stream.dedup_within_ms, most_ids)

    @property
    def nbytes(self) -> int:
        """Memory held by ids of events."""
        return self._dedup.nbytes

    def take(self, batch: RecordBatch, outcome: Outcome) -> Columns:
        """The events to apply, in the order of the log; `outcome` gets the rejected records."""
        columns, undecodable = self._codec.decode(batch)
        columns = self._with_ids(columns)
        columns, misplaced = self._without_misplaced(batch, columns)
        outcome.dead.extend(sorted(undecodable + misplaced, key=lambda record: record.offset))
        self._tell_log_times(columns, batch)
        self._check_times(columns)
        return self._without_duplicates(columns)

    def tombstone(self, record: RecordBatch, outcome: Outcome) -> tuple[str, LogTimes] | None:
        """The entity that a batch of one tombstone names, and when that reached the log.

        None where it names none of this partition: it is rejected.
        """
        key = record.keys[0] if record.keys else None
        try:
            name = self._codec.entity(key)
        except BadRecord as error:
            kind = RejectKind.NO_KEY if key is None else RejectKind.INVALID
            outcome.dead.append(record.rejected(0, error.reason, kind))
            return None
        for fault in self._placement.faults([name]):
            outcome.dead.append(record.rejected(0, fault.reason, fault.kind))
            return None
        field = self._stream.fields[self._stream.log_key.key]
        return name, self._log_times(entity_ids(field, [name]), record)

    def freeze(self) -> dict[str, StateView]:
        """The state of now, for a snapshot, by the names of its parts."""
        topic = self._stream.topic
        return {f"dedup/{topic}": self._dedup.freeze(), f"clock/{topic}": self._clock.freeze()}

    def load(self, arrays: Mapping[str, Array], ids: Mapping[str, Array]) -> None:
        """Become the state that a snapshot's `arrays` hold, of which `ids` are those of events."""
        within_ms = self._stream.dedup_within_ms
        self._dedup = Deduplicator.restore(within_ms, self._most_ids, ids)
        self._clock.load(part_of(arrays, f"clock/{self._stream.topic}"))

    def _with_ids(self, columns: Columns) -> Columns:
        """The events that name an entity: where others key the records, some may lack a part."""
        if not self._stream.of_another_key:
            return columns
        faults = columns.part_faults(self._stream.key.key)
        self._counters.without_part += int(np.count_nonzero(faults.missing))
        self._counters.part_too_long += int(np.count_nonzero(faults.too_long))
        return columns.take(np.flatnonzero(~faults.any)) if faults.any.any() else columns

    def _without_misplaced(
        self, batch: RecordBatch, columns: Columns
    ) -> tuple[Columns, list[RejectedRecord]]:
        """The events whose entities belong to this partition, and the records of the others.

        Those of a history, which come decoded, were given to the partitions that they belong to.
        """
        if batch.decoded is not None:
            return columns, []
        faults = list(self._placement.faults(columns.text(self._stream.log_key.key)))
        if not faults:
            return columns, []
        wrong = np.array([fault.place for fault in faults])
        records = np.searchsorted(batch.offsets, columns.offsets[wrong]).tolist()
        rejected = [
            batch.rejected(record, fault.reason, fault.kind)
            for record, fault in zip(records, faults, strict=True)
        ]
        return columns.take(np.delete(np.arange(len(columns)), wrong)), rejected

    def _tell_log_times(self, columns: Columns, batch: RecordBatch) -> None:
        """Note in `columns`, which are those of `batch`, when their records reached the log."""
        entities = columns.hashed(self._stream.log_key.key)
        times = self._log_times(entities, batch, columns.offsets)
        columns.log_ms, columns.clock_ms = times.log_ms, times.clock_ms

    def _log_times(
        self, entities: Ints, batch: RecordBatch, offsets: Ints | None = None
    ) -> LogTimes:
        """When the records of `batch` at `offsets` int64[n] (None: all) reached the log."""
        stamps_ms, by_broker = batch.timestamps_ms, batch.stamped_by_broker
        if offsets is not None and len(offsets) < len(stamps_ms):
            records = batch.offsets.searchsorted(offsets)
            stamps_ms, by_broker = stamps_ms[records], by_broker[records]
        times = self._clock.advance(entities, stamps_ms, by_broker)
        self._counters.stamp_ahead += times.ahead
        self._counters.stamp_behind += times.behind
        return times

    def _check_times(self, columns: Columns) -> None:
        """Count wrong clocks, and let no event be later than its record reached the log.

        An event whose clock is ahead must not move the time of others, which would be too old to be
        known again, to count as labels or to stay, nor that of its own user, whose next events
        would be late.
        """
        behind = columns.event_times_ms < columns.log_ms - TOLERANCE_MS
        self._counters.clock_behind += int(np.count_nonzero(behind))
        ahead = int(np.count_nonzero(columns.event_times_ms > columns.log_ms))
        if ahead:
            self._counters.clock_ahead += ahead
            columns.event_times_ms = np.minimum(columns.event_times_ms, columns.log_ms)

    def _without_duplicates(self, columns: Columns) -> Columns:
        """Drop events whose id is known."""
        forgotten, ids = self._dedup.forgotten, columns.hashed(self._stream.id)
        fresh = self._dedup.fresh(ids, columns.log_ms, columns.clock_ms)
        self._counters.ids_forgotten += self._dedup.forgotten - forgotten
        if fresh.all():
            return columns
        self._counters.duplicates += int(len(fresh) - np.count_nonzero(fresh))
        return columns.take(np.flatnonzero(fresh))
