"""Everything that is known of one partition, and what a batch of records does to it.

No clock, no network, no randomness: the state is a function of the records up to its offsets.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

from freshrank.actors.errors import SnapshotError
from freshrank.actors.messages import (
    Bools,
    Ints,
    Progress,
    RecordBatch,
    RejectedRecord,
    SourceOffsets,
)
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.file_format import Array, unpack_for
from freshrank.actors.snapshots.frozen import StateView, text_arrays, texts_of
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS
from freshrank.feature_actors.partition import labelling
from freshrank.feature_actors.partition.example_queue import ExampleQueue
from freshrank.feature_actors.partition.snapshot import SNAPSHOT_KIND, Snapshot, part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.dedup import Deduplicator
from freshrank.feature_actors.state.dirty_rows import DirtySlots
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.state.table_copy import RowMemory
from freshrank.feature_actors.streams.json_decoder import Codec


@dataclass(slots=True)
class Counters:
    """What became of the records of a partition since its first."""

    events: int = 0
    """Applied to the features."""
    duplicates: int = 0
    late: int = 0
    dead: int = 0
    skipped: int = 0
    """Offsets that the log no longer had (retention, compaction)."""
    impressions: int = 0
    examples: int = 0
    positives: int = 0
    evicted: int = 0
    ids_forgotten: int = 0
    """Of events, before `Stream.dedup_within` had passed: there were more than are remembered."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch gave, beside the changed state."""

    dead: list[RejectedRecord] = field(default_factory=list)
    late: list[RejectedRecord] = field(default_factory=list)
    unread_from: int | None = None
    """The batch reached beyond an offset at which reading has to stop: go back to it."""


class PartitionState:
    """Features, duplicates, pending labels, examples and offsets of one partition."""

    def __init__(self, spec: PartitionSpec, partition: int) -> None:
        self.spec = spec
        self.partition = partition
        self.counters = Counters()
        self.table = EntityTable(spec.plan.tables[0], spec.bounds.entities)
        self.dirty = DirtySlots()
        """Rows that the online store has not got."""
        self.evicted: list[str] = []
        """Entities dropped from the table that the online store may still hold."""
        self.newest_event_ms = LONG_AGO_MS
        """The greatest time of an event: the earlier of its event time and its record's."""
        self._offsets = dict.fromkeys(spec.topics, 0)
        self._stops: list[SourceOffsets] = []
        self._codec = Codec(spec.stream)
        self._dedup = Deduplicator(spec.stream.dedup_within_ms, spec.bounds.event_ids)
        layout = spec.encoder.layout
        self._widths = (len(layout.dense), layout.id_width)
        self.example_queue = ExampleQueue(partition, spec.topics, *self._widths)
        self.joiner: Joiner | None = None
        if isinstance(spec.label, Joined):
            within, grace = spec.label.within_ms, spec.label.grace_ms
            self.joiner = Joiner(within, grace, *self._widths)

    @property
    def offsets(self) -> SourceOffsets:
        """The next offset of each topic."""
        return SourceOffsets(self._offsets)

    @property
    def event_offset(self) -> int:
        """The next offset of the events' topic: no row contains an event at or beyond it."""
        return self._offsets[self.spec.stream.topic]

    @property
    def nbytes(self) -> int:
        """Memory held, roughly: rows, ids of events, examples and what waits for its label."""
        rows = len(self.table) * self.spec.plan.bytes_per_entity
        joiner = self.joiner.nbytes if self.joiner else 0
        return rows + self._dedup.nbytes + self.example_queue.nbytes + joiner

    @property
    def replaying(self) -> bool:
        """Whether the learner is known to have more than this state has read."""
        return bool(self._stops)

    @property
    def replay_target(self) -> SourceOffsets:
        """How far has to be read again until the learner can be given anything."""
        return self._stops[-1] if self._stops else self.offsets

    def resume(self, progress: Progress) -> None:
        """Go on beside a learner that has got this far. Raises ProgressError (see Outbox)."""
        self._stops = self.example_queue.resume(progress)
        self._pass_stops()

    def stopped(self, topic: str) -> bool:
        """Whether `topic` has to wait at a stop until the other topic has reached it too."""
        return bool(self._stops) and self._offsets[topic] >= self._stops[0][topic]

    def process(self, batch: RecordBatch) -> Outcome:
        """Take the records of one topic: features, labels, examples, offsets."""
        topic = batch.topic
        begin = self._offsets[topic]
        batch = _between(batch, begin, None)  # nothing is taken twice
        if not batch.values:
            return Outcome()
        limit = self._stops[0][topic] if self._stops else None
        unread = limit if limit is not None and batch.offsets[-1] >= limit else None
        if unread is not None:
            batch = _between(batch, begin, unread)
        outcome, rows = Outcome(unread_from=unread), LabelledRows.none(*self._widths)
        if batch.values:
            if begin > 0:
                self.counters.skipped += int(batch.offsets[0]) - begin
            is_events = topic == self.spec.stream.topic
            take = self._take_events if is_events else self._take_impressions
            rows = take(batch, outcome)
            self._offsets[topic] = int(batch.offsets[-1]) + 1
        if unread is not None:
            self._offsets[topic] = unread  # no record lies between: the log has a gap here
        self._collect(rows)
        self.evict()  # here, so that what is dropped follows from the records, not from a clock
        self.counters.dead += len(outcome.dead)
        self.counters.late += len(outcome.late)
        return outcome

    def evict(self) -> None:
        """Drop idle entities, when that is due."""
        gone = self.table.evict(self.newest_event_ms)
        if gone:
            self.counters.evicted += len(gone)
            self.evicted += gone
            names = set(gone)
            slots = self.dirty.take(len(self.dirty))
            stay = [name not in names for name in self.table.entities(slots)]
            self.dirty.mark(slots[np.array(stay, dtype=np.bool_)])

    def snapshot(self, unwritten: Ints | None = None, memory: RowMemory | None = None) -> Snapshot:
        """The whole state of now.

        `unwritten` int64[m] are slots whose rows are on their way to the online store. `memory`
        is the snapshot's until its file is written.
        """
        slots, evicted = self.table.slots(), list(self.evicted)
        dirty = self.dirty.among(self.table.size)
        if unwritten is not None:
            dirty[unwritten] = True
        parts: dict[str, StateView] = {
            "table": self.table.freeze(memory),
            "dedup": self._dedup.freeze(),
            "outbox": self.example_queue.freeze(),
            "store": partial(_store_arrays, dirty, slots, evicted),
        }
        if self.joiner is not None:
            parts["joiner"] = self.joiner.freeze()
        meta: dict[str, JsonValue] = {
            "partition": self.partition,
            "topics": list(self.spec.topics),
            "offsets": dict(self.offsets),
            "newest_event_ms": self.newest_event_ms,
            "counters": asdict(self.counters),
        }
        return Snapshot(self.offsets, self.spec.fingerprint, meta, parts, self.table.copy_rows)

    @classmethod
    def restore(
        cls, spec: PartitionSpec, partition: int, payload: bytes | bytearray
    ) -> PartitionState:
        """The state that a snapshot's file holds. Raises SnapshotError, DefinitionChanged."""
        meta, arrays = unpack_for(SNAPSHOT_KIND, spec.fingerprint, payload)
        if meta["partition"] != partition:
            raise SnapshotError(f"a snapshot of partition {meta['partition']}, not {partition}")
        state = cls(spec, partition)
        state.table = EntityTable.restore(
            spec.plan.tables[0], spec.bounds.entities, part_of(arrays, "table")
        )
        state._dedup = Deduplicator.restore(
            spec.stream.dedup_within_ms, spec.bounds.event_ids, part_of(arrays, "dedup")
        )
        # Files of format 3 have the offsets in the order of the pipeline's topics.
        topics = meta.get("topics", spec.topics)
        read = meta["offsets"] if "offsets" in meta else meta["cut"]
        # Its own copy: examples may wait for long, and would keep all of the file in memory.
        waiting = {name: one.copy() for name, one in part_of(arrays, "outbox").items()}
        state.example_queue.load(waiting, topics)
        if state.joiner is not None:
            state.joiner.load(part_of(arrays, "joiner"))
        state._offsets |= SourceOffsets.from_json(read, topics)
        state.newest_event_ms = meta["newest_event_ms"]
        state.counters = Counters(**meta["counters"])
        store = part_of(arrays, "store")
        state.evicted = texts_of(store["evicted"], store["evicted_ends"])
        state.dirty.mark(np.flatnonzero(store["dirty"]))
        return state

    def mark_all(self) -> None:
        """Every row is to be written again."""
        self.dirty.mark(self.table.slots())

    def _take_events(self, batch: RecordBatch, outcome: Outcome) -> LabelledRows:
        spec, counters = self.spec, self.counters
        columns, dead = self._codec.decode(batch)
        outcome.dead.extend(dead)
        # An event whose clock is ahead must not move the partition's time: all others would be too
        # old to be known again, or to count as labels.
        stamps_ms = batch.timestamps_ms[np.searchsorted(batch.offsets, columns.offsets)]
        times_ms = np.minimum(columns.event_times_ms, stamps_ms)
        forgotten = self._dedup.forgotten
        fresh = self._dedup.fresh(columns.hashed(spec.stream.id), times_ms)
        counters.ids_forgotten += self._dedup.forgotten - forgotten
        if not fresh.all():
            counters.duplicates += int(len(fresh) - fresh.sum())
            columns, times_ms = columns.take(np.flatnonzero(fresh)), times_ms[fresh]
        if len(columns) == 0:
            return LabelledRows.none(*self._widths)
        applied = self.table.apply(columns, before=isinstance(spec.label, Labelled))
        late = np.flatnonzero(applied.late)
        self.dirty.mark(applied.slots[~applied.late] if len(late) else applied.slots)
        outcome.late.extend(_late(batch, columns.offsets[late]))
        counters.events += len(columns) - len(late)
        self.newest_event_ms = max(self.newest_event_ms, int(times_ms.max()))
        if isinstance(spec.label, Labelled):
            return labelling.labelled(spec, columns, applied)
        if self.joiner is not None:
            return labelling.happened(spec, self.joiner, columns, times_ms)
        return LabelledRows.none(*self._widths)

    def _take_impressions(self, batch: RecordBatch, outcome: Outcome) -> LabelledRows:
        if self.joiner is None:
            raise ValueError(f"{batch.topic}: this pipeline joins no impressions")
        rows, rejected = labelling.shown(self.spec, self.joiner, batch)
        outcome.dead.extend(rejected)
        self.counters.impressions += len(batch.values) - len(rejected)
        return rows

    def _collect(self, rows: LabelledRows) -> None:
        self.counters.examples += len(rows)
        self.counters.positives += int((rows.labels > 0.5).sum())
        self.example_queue.extend(rows, self.offsets)
        self._pass_stops()

    def _pass_stops(self) -> None:
        while self._stops and self.offsets == self._stops[0]:
            self._stops.pop(0)
            if not self._stops:
                self.example_queue.reach()


def _store_arrays(dirty: Bools, slots: Ints, evicted: list[str]) -> dict[str, Array]:
    """What the online store has not got: rows, in the order of `slots`, and removals."""
    names, ends = text_arrays(evicted)
    return {"dirty": dirty[slots], "evicted": names, "evicted_ends": ends}


def _between(batch: RecordBatch, begin: int, end: int | None) -> RecordBatch:
    """The records with ``begin <= offset < end``."""
    first = int(np.searchsorted(batch.offsets, begin))
    last = len(batch.offsets) if end is None else int(np.searchsorted(batch.offsets, end))
    if first == 0 and last == len(batch.offsets):
        return batch
    return RecordBatch(
        batch.topic,
        batch.partition,
        batch.values[first:last],
        batch.offsets[first:last],
        batch.timestamps_ms[first:last],
    )


def _late(batch: RecordBatch, offsets: Ints) -> list[RejectedRecord]:
    places = np.searchsorted(batch.offsets, offsets).tolist()
    reason = "too late: every aggregate that it is for has forgotten its time"
    return [
        RejectedRecord(
            batch.topic, batch.partition, int(batch.offsets[at]), reason, batch.values[at]
        )
        for at in places
    ]
