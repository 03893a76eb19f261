"""The events of one stream: decoded, told from duplicates, applied to the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch, RejectedRecord, RejectKind
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS
from freshrank.feature_actors.partition.labelling import StreamLabel
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.dedup import Deduplicator
from freshrank.feature_actors.state.log_clock import TOLERANCE_MS, LogClock, LogTimes
from freshrank.feature_actors.state.table_copy import RowMemory
from freshrank.feature_actors.state.tracked_table import TrackedTable
from freshrank.feature_actors.streams.codec import Codec
from freshrank.feature_actors.streams.columns import Columns, entity_ids
from freshrank.feature_actors.streams.origin import OriginFilter, generation_of
from freshrank.feature_actors.views.table_plan import TablePlan

# Offsets between two checks of whether a table holds too many entities: a check may split a batch
# in two. Fewer where a table's bound is low: it may be exceeded by this share between checks.
_MOST_OFFSETS = 16_384
_EXCESS = 0.05

_TOO_LATE = "too late: every aggregate that it is for has forgotten its time"


class StreamSource:
    """One stream of a partition: its topic, its decoder, and the state that its events change.

    The state is a function of the events below an offset, wherever batches end and whatever is
    read of other topics. So entities are dropped at places that follow from the log: where an
    offset is a multiple of a stride, and after the event whose time makes a look for idle entities
    due.

    Parameters
    ----------
    plan
        Of the table that the events fill; it names the stream.
    counters
        Of the partition.
    placement
        The partition, whose entities alone may be in it.
    label
        None for a stream that the label does not refer to.
    """

    def __init__(
        self,
        plan: TablePlan,
        spec: PartitionSpec,
        counters: Counters,
        placement: Placement,
        label: StreamLabel | None = None,
    ) -> None:
        self.stream = plan.source
        settings = spec.settings
        entities, ids = settings.max_entities_per_partition, settings.max_event_ids_per_partition
        self.table = TrackedTable(plan, entities)
        self.newest_event_ms = LONG_AGO_MS
        """The greatest time of an event, none of which is later than the log's clock."""
        self._settings = settings
        self._counters = counters
        self._placement = placement
        self._label = label
        self._codec = Codec(self.stream)
        self._generation = generation_of(spec.state)
        self._origins: OriginFilter | None = None
        if self.stream.rekeyed:
            self._origins = OriginFilter(self._generation)
        self._clock = LogClock()
        self._dedup = Deduplicator(self.stream.dedup_within_ms, ids)
        self._stride = max(1, min(_MOST_OFFSETS, int(_EXCESS * entities)))

    @property
    def nbytes(self) -> int:
        """Memory held by rows and ids of events."""
        rows = len(self.table) * self.table.plan.bytes_per_entity
        return rows + self._dedup.nbytes

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; gives the examples they complete."""
        if self._origins is None:
            return self._take(batch, begin, end, outcome)
        copied, topic = self._origins.take(batch, begin, end), self.stream.topic
        self._counters.copied_again += copied.repeated
        rows = self._take(copied.batch, begin, end, outcome)
        if self.stream.of_another_key:
            # The shards of the stream's own key reject the same records; late ones are counted.
            self._counters.late += len(outcome.late)
            outcome.dead[:], outcome.late[:] = copied.rejected, []
            return rows
        outcome.dead[:] = copied.rejected + [copied.original(dead, topic) for dead in outcome.dead]
        outcome.late[:] = [copied.original(late, topic) for late in outcome.late]
        return rows

    def _take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        rows: list[LabelledRows] = []
        for tombstone in batch.tombstones():
            at = int(tombstone.offsets[0])
            rows += self._take_events(batch.between(begin, at), begin, at, outcome)
            rows += self._forget(tombstone, outcome)
            # Where a stride begins is looked at after it, as in a batch that begins with it.
            rows += self._take_events(batch.between(at, at), at, at + 1, outcome)
            batch, begin = batch.between(at + 1, None), at + 1
        return rows + self._take_events(batch, begin, end, outcome)

    def _forget(self, tombstone: RecordBatch, outcome: Outcome) -> list[LabelledRows]:
        """Take a batch of one tombstone: nothing of its entity stays. Gives examples known then."""
        key = tombstone.keys[0] if tombstone.keys else None
        try:
            name = self._codec.entity(key)
        except BadRecord as error:
            kind = RejectKind.NO_KEY if key is None else RejectKind.INVALID
            outcome.dead.append(tombstone.rejected(0, error.reason, kind))
            return []
        for fault in self._placement.faults([name]):
            outcome.dead.append(tombstone.rejected(0, fault.reason, fault.kind))
            return []
        key_field = self.stream.fields[self.stream.key.key]
        at = self._log_times(entity_ids(key_field, [name]), tombstone)
        known = self.table.delete([name])
        self._counters.forgotten += known
        self._counters.forgotten_unknown += 1 - known
        if self._label is None:
            return []
        outcome.forgotten.append(name)
        forget = self._label.forget
        return [] if forget is None else [forget(hash_text(name), at.log_ms[0], at.clock_ms[0])]

    def _take_events(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        columns, undecodable = self._codec.decode(batch)
        columns, misplaced = self._without_misplaced(batch, columns)
        outcome.dead.extend(sorted(undecodable + misplaced, key=lambda record: record.offset))
        self._tell_log_times(columns, batch)
        self._check_times(columns)
        columns = self._without_duplicates(columns)
        looked, at = begin // self._stride, 0
        rows: list[LabelledRows] = []
        while at < len(columns):
            if columns.offsets[at] // self._stride > looked:
                looked = int(columns.offsets[at]) // self._stride
                self._evict()
            stop = self._next_look(columns, at, looked)
            rows += self._apply(batch, columns.between(at, stop), outcome)
            at = stop
        if end // self._stride > looked:
            self._evict()
        return rows

    def freeze(self, memory: RowMemory | None, under_way: Ints | None) -> dict[str, StateView]:
        """The state of now, for a snapshot, by the names of its parts.

        `memory` takes the rows; `under_way` int64[m] are slots whose rows were sent to the online
        store and are not confirmed.
        """
        name = self.table.plan.name
        parts: dict[str, StateView] = {}
        if self._origins is not None:
            origins = self._origins.arrays()
            parts[f"origins/{self.stream.topic}"] = lambda: origins
        return parts | {
            f"tables/{name}": self.table.freeze(memory),
            f"unwritten/{name}": self.table.freeze_unwritten(under_way),
            f"dedup/{self.stream.topic}": self._dedup.freeze(),
            f"clock/{self.stream.topic}": self._clock.freeze(),
        }

    def move(self) -> None:
        """Go on with another log: its offsets say nothing of what was taken."""
        self.table.forget_offsets()
        if self._origins is not None:
            self._origins = OriginFilter(self._generation)

    def load(self, arrays: Mapping[str, Array], newest_event_ms: int) -> None:
        """Become the state that a snapshot's `arrays` hold."""
        name = self.table.plan.name
        rows, unwritten = part_of(arrays, f"tables/{name}"), part_of(arrays, f"unwritten/{name}")
        ids = part_of(arrays, f"dedup/{self.stream.topic}")
        if not rows:  # a file of format 3: it holds one table, without a name
            rows, unwritten = part_of(arrays, "table"), part_of(arrays, "store")
            ids = part_of(arrays, "dedup")
        self.table.load(rows)
        self.table.load_unwritten(unwritten)
        within_ms, most = self.stream.dedup_within_ms, self._settings.max_event_ids_per_partition
        self._dedup = Deduplicator.restore(within_ms, most, ids)
        self._clock.load(part_of(arrays, f"clock/{self.stream.topic}"))
        if self._origins is not None:
            self._origins.load(part_of(arrays, f"origins/{self.stream.topic}"))
        self.newest_event_ms = newest_event_ms

    def _without_misplaced(
        self, batch: RecordBatch, columns: Columns
    ) -> tuple[Columns, list[RejectedRecord]]:
        """The events whose entities belong to this partition, and the records of the others."""
        faults = list(self._placement.faults(columns.text(self.stream.key.key)))
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
        times = self._log_times(columns.hashed(self.stream.key.key), batch, columns.offsets)
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
        forgotten, ids = self._dedup.forgotten, columns.hashed(self.stream.id)
        fresh = self._dedup.fresh(ids, columns.log_ms, columns.clock_ms)
        self._counters.ids_forgotten += self._dedup.forgotten - forgotten
        if fresh.all():
            return columns
        self._counters.duplicates += int(len(fresh) - np.count_nonzero(fresh))
        return columns.take(np.flatnonzero(fresh))

    def _next_look(self, columns: Columns, at: int, looked: int) -> int:
        """The end of the events from `at` on that are applied before the next check of entities."""
        stop = int(columns.offsets.searchsorted((looked + 1) * self._stride))
        due_ms = self.table.idle_look_ms
        if due_ms is not None:
            beyond = _passed_ms(columns)[at:stop] > due_ms
            if beyond.any():
                stop = at + int(beyond.argmax()) + 1
        return stop

    def _apply(self, batch: RecordBatch, columns: Columns, outcome: Outcome) -> list[LabelledRows]:
        """Apply events, and drop idle entities when that is due after the last."""
        due_ms = self.table.idle_look_ms
        applied = self.table.apply(
            columns, before=self._label is not None and self._label.reads_before
        )
        late = int(np.count_nonzero(applied.late))
        if late:
            places = batch.offsets.searchsorted(columns.offsets[applied.late])
            outcome.late.extend(batch.rejected(place, _TOO_LATE) for place in places.tolist())
        self._counters.events += len(columns) - late
        self.newest_event_ms = max(self.newest_event_ms, int(_passed_ms(columns).max()))
        rows = [] if self._label is None else [self._label.label(columns, applied)]
        if due_ms is not None and self.newest_event_ms > due_ms:
            self._evict()
        return rows

    def _evict(self) -> None:
        self._counters.evicted += len(self.table.evict(self.newest_event_ms))


def _passed_ms(columns: Columns) -> Ints:
    """int64[n]: the times of events that have passed by the log's clock, else the clock."""
    return np.minimum(columns.event_times_ms, columns.clock_ms)
