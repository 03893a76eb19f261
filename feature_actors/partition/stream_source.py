"""The events of one stream: decoded, told from duplicates, applied to the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.messages import Ints
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS
from freshrank.feature_actors.partition.arrival.event_filter import EventFilter
from freshrank.feature_actors.partition.labelling import StreamLabel
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.table_copy import RowMemory
from freshrank.feature_actors.state.tracked_table import TrackedTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.streams.copies.origin import generation_of
from freshrank.feature_actors.streams.copies.origin_filter import OriginFilter
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
        self._counters = counters
        self._label = label
        self._filter = EventFilter(self.stream, ids, counters, placement)
        self._generation = generation_of(spec.state)
        self._origins: OriginFilter | None = None
        if self.stream.rekeyed:
            self._origins = OriginFilter(self._generation)
        self._stride = max(1, min(_MOST_OFFSETS, int(_EXCESS * entities)))

    @property
    def nbytes(self) -> int:
        """Memory held by rows and ids of events."""
        rows = len(self.table) * self.table.plan.bytes_per_entity
        return rows + self._filter.nbytes

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; gives the examples they complete."""
        if begin == 0 and batch.values and self._origins is None and batch.decoded is None:
            self._counters.deleted_before_start += int(batch.offsets[0])
        if self._origins is None or batch.decoded is not None:
            rows, dead = self._take(batch, begin, end, outcome), outcome.dead
            own = list[RejectedRecord]()
        else:
            copied, topic = self._origins.take(batch, begin, end), self.stream.topic
            self._counters.copied_again += copied.repeated
            rows = self._take(copied.batch, copied.begin, copied.end, outcome)
            own = copied.rejected
            dead = own + [copied.original(one, topic) for one in outcome.dead]
            outcome.late[:] = [copied.original(late, topic) for late in outcome.late]
        if self.stream.of_another_key:
            # The shards of the stream's own key reject the same records; late ones are counted.
            self._counters.late += len(outcome.late)
            dead, outcome.late[:] = own, []
        outcome.dead[:] = dead
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
        found = self._filter.tombstone(tombstone, outcome)
        if found is None:
            return []
        name, at = found
        owned = self.stream.owner is not None
        known = self.table.delete_owned(name) if owned else self.table.delete([name])
        self._counters.forgotten += known > 0
        self._counters.forgotten_unknown += known == 0
        if self._label is None:
            return []
        outcome.forgotten.append(name)
        self._label.beside.forget(name)
        forget = self._label.forget
        return [] if forget is None else [forget(hash_text(name), at.log_ms[0], at.clock_ms[0])]

    def _take_events(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        columns = self._filter.take(batch, outcome)
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
            **self._filter.freeze(),
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
        self._filter.load(arrays, ids)
        if self._origins is not None:
            self._origins.load(part_of(arrays, f"origins/{self.stream.topic}"))
        self.newest_event_ms = newest_event_ms

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
        if self._label is not None:
            self._counters.evicted += self._label.beside.evict(self.newest_event_ms)


def _passed_ms(columns: Columns) -> Ints:
    """int64[n]: the times of events that have passed by the log's clock, else the clock."""
    return np.minimum(columns.event_times_ms, columns.clock_ms)
