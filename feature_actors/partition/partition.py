"""The state of a partition, and how a batch of records changes it.

There is no clock, network or randomness: the state is a function of the records below its offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Protocol

import numpy as np

from freshrank.actors.messages import Ints, SourceOffsets
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.protocols import JsonValue
from freshrank.actors.records import DeletedRecords, RecordBatch, no_records
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.labels.down_sampling import without_negatives
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.labels.waiting_examples import WaitingExamples
from freshrank.feature_actors.partition.arrival.impression_decoder import ImpressionDecoder
from freshrank.feature_actors.partition.carry_over.carried_over import (
    definitions_of,
    read_snapshot,
)
from freshrank.feature_actors.partition.example_queue import ExampleQueue, QueueState
from freshrank.feature_actors.partition.impression_source import ImpressionSource
from freshrank.feature_actors.partition.labelling import LabelTables, labelling, waits_of
from freshrank.feature_actors.partition.outcome import Counters, Outcome, TopicCounts
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.snapshot import Snapshot, part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.partition.stream_source import StreamSource
from freshrank.feature_actors.partition.table_source import TableSource
from freshrank.feature_actors.state.entity_table import RowsBeside
from freshrank.feature_actors.state.table_copy import RowMemory
from freshrank.feature_actors.state.tracked_table import TrackedRows, TrackedTable


class Source(Protocol):
    """A topic of a partition: decodes its records, and changes the state by their contents."""

    def take(
        self, batch: RecordBatch, begin: int, end: int, outcome: Outcome
    ) -> list[LabelledRows]:
        """Take the records with ``begin <= offset < end``; gives the examples they complete.

        Rejected records are added to `outcome`.
        """
        ...


class PartitionState:
    """Features, duplicates, pending labels, examples and offsets of a partition.

    `partitions` is the number of partitions of each topic: records of entities that belong to
    another partition are rejected.
    """

    def __init__(self, spec: PartitionSpec, partition: int, partitions: int = 1) -> None:
        self.spec = spec
        self.partition = partition
        self.counters = Counters()
        self.former_layouts: dict[str, KeptLayout] = {}
        """By fingerprint: the input layouts that it was carried over from."""
        self.changes: Sequence[str] | None = None
        """What was kept, added and dropped where it comes from a file of other definitions."""
        layout = spec.encoder.layout
        self._widths = len(layout.dense), layout.id_width
        self.example_queue = ExampleQueue(partition, spec.topics, *self._widths)
        self._waits = waits_of(spec.label, *self._widths)
        self.joiner = self._waits if isinstance(self._waits, Joiner) else None
        self.waiting = self._waits if isinstance(self._waits, WaitingExamples) else None
        most = spec.settings.max_entities_per_partition
        self._beside = RowsBeside(spec.beside, most)
        self._streams = self._stream_sources(partitions)
        self._row_sources: list[StreamSource | TableSource] = [
            *self._streams,
            *self._table_sources(partitions),
        ]
        self._sources: dict[str, Source] = {
            one.table.plan.source.log_topic: one for one in self._row_sources
        }
        self._impressions: ImpressionSource | None = None
        if self.joiner is not None and spec.impressions_topic is not None:
            placement = Placement(spec.stream.placed_by, partition, partitions)
            decoder = ImpressionDecoder(spec.encoder, self.former_layouts)
            self._impressions = ImpressionSource(decoder, self.joiner, self.counters, placement)
            self._sources[spec.impressions_topic] = self._impressions
        tables = {latest.source.topic for latest in spec.plan.latest}
        self.topic_counts = {topic: TopicCounts() for topic in self._sources if topic not in tables}
        """By topic of events and of impressions."""
        self._offsets = dict.fromkeys(self._sources, 0)

    @property
    def offsets(self) -> SourceOffsets:
        """The next offset of each topic."""
        return SourceOffsets(self._offsets)

    @property
    def tables(self) -> Sequence[TrackedTable]:
        """The rows that events change: a table for each stream, in the order of the plan."""
        return [source.table for source in self._streams]

    @property
    def row_tables(self) -> Sequence[TrackedRows]:
        """All rows: those that events change, then those of tables."""
        return [source.table for source in self._row_sources]

    @property
    def newest_event_ms(self) -> int:
        """The greatest time of a record that its rows are made of."""
        return max(source.newest_event_ms for source in self._row_sources)

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, roughly: rows, ids of events, examples, items without a label."""
        rows = sum(source.nbytes for source in self._row_sources)
        rows += self._beside.nbytes
        return rows + self.example_queue.nbytes + (self._waits.nbytes if self._waits else 0)

    @property
    def pending(self) -> int:
        """Shown items, or events, that wait for their label."""
        return self._waits.pending if self._waits else 0

    @property
    def replaying(self) -> bool:
        """Whether the learner is known to have more than this state has read."""
        return self.example_queue.state is not QueueState.LIVE

    def stopped(self, topic: str) -> bool:
        """Whether `topic` has to wait at a stop until the other topics have reached it too."""
        stop = self.example_queue.stop
        return stop is not None and self._offsets[topic] >= stop[topic]

    def process(self, batch: RecordBatch) -> Outcome:
        """Take the records of a topic: update features, labels, examples and offsets."""
        topic = batch.topic
        begin = self._offsets[topic]
        batch = batch.between(begin, None)  # nothing is taken twice
        if not batch.values:
            return Outcome()
        end, stop, unread = int(batch.offsets[-1]) + 1, self.example_queue.stop, None
        if stop is not None and stop[topic] < end:
            # Up to the stop, also where no record lies just before it: the log has a gap there.
            end = unread = stop[topic]
            batch = batch.between(begin, end)
        if batch.values and begin > 0:
            self.counters.skipped += int(batch.offsets[0]) - begin
        outcome, counters = Outcome(unread_from=unread), self.counters
        records, late = counters.records, counters.late
        rows = self._sources[topic].take(batch, begin, end, outcome)
        self._offsets[topic] = end
        self._queue(rows, outcome)
        counters.count_dead(outcome.dead)
        counters.late += len(outcome.late)
        if topic in self.topic_counts:
            read, too_late = counters.records - records, counters.late - late
            self.topic_counts[topic].count(read, too_late, outcome.dead)
        return outcome

    def pass_deleted(self, deleted: DeletedRecords) -> int | None:
        """Go on after records that were deleted before they were read.

        Gives the offset at which reading has to stop if it lies among them: go back to it.
        """
        topic, end, unread = deleted.topic, deleted.end, None
        begin, stop = self._offsets[topic], self.example_queue.stop
        if stop is not None and stop[topic] < end:
            end = unread = stop[topic]
        if end > begin:
            self.counters.lost_to_retention += max(0, end - max(begin, deleted.begin))
            outcome = Outcome()
            rows = self._sources[topic].take(no_records(deleted), begin, end, outcome)
            self._offsets[topic] = end
            self._queue(rows, outcome)
        return unread

    def move_to(self, offsets: Mapping[str, int]) -> None:
        """Go on at the next `offsets` of topics: what was taken lay elsewhere, as in files.

        The examples that were kept are forgotten: the learner has to have them.
        """
        for source in self._row_sources:
            source.move()
        self._offsets |= offsets
        begin = self.offsets
        self.example_queue = ExampleQueue(self.partition, self.spec.topics, *self._widths, begin)

    def snapshot(
        self,
        under_way: Mapping[str, Ints] | None = None,
        memory: Mapping[str, RowMemory] | None = None,
    ) -> Snapshot:
        """The whole state of now.

        `under_way` has, by the table's name, int64[m] slots whose rows were sent to the online
        store and are not confirmed. `memory`, by the table's name, takes the rows: it is the
        snapshot's until its file is written.
        """
        parts: dict[str, StateView] = {"outbox": self.example_queue.freeze()}
        for source in self._row_sources:
            name = source.table.plan.name
            parts |= source.freeze((memory or {}).get(name), (under_way or {}).get(name))
        if self._waits is not None:
            parts[self._waits.PART] = self._waits.freeze()
        parts |= {f"beside/{name}": frozen for name, frozen in self._beside.freeze().items()}
        if self._impressions is not None:
            parts[f"clock/{self.spec.impressions_topic}"] = self._impressions.freeze()
        meta: dict[str, JsonValue] = {
            "partition": self.partition,
            "topics": list(self.spec.topics),
            "offsets": dict(self.offsets),
            "newest_event_ms": {
                source.table.plan.source.topic: source.newest_event_ms
                for source in self._row_sources
            },
            "counters": asdict(self.counters),
            **definitions_of(self.spec, self.former_layouts),
        }
        return Snapshot(self.offsets, self.spec.made_for, meta, parts, self._copy_rows)

    @classmethod
    def restore(
        cls,
        spec: PartitionSpec,
        partition: int,
        payload: bytes | bytearray,
        partitions: int = 1,
    ) -> PartitionState:
        """The state that a snapshot's file holds. Raises SnapshotError, DefinitionChanged."""
        found = read_snapshot(spec, partition, payload)
        meta, arrays = found.meta, found.arrays
        state = cls(spec, partition, partitions)
        state.changes = found.changes
        state.former_layouts |= found.former_layouts
        newest_ms = meta["newest_event_ms"]
        for source in state._row_sources:
            if (topic := source.table.plan.source.topic) in newest_ms:  # else it is new
                source.load(arrays, newest_ms[topic])
        # Its own copy: examples may wait for long, and would keep all of the file in memory.
        waiting = {name: array.copy() for name, array in part_of(arrays, "outbox").items()}
        state.example_queue.load(waiting, meta["topics"])
        if state._waits is not None:
            state._waits.load(part_of(arrays, state._waits.PART))
        for table in state._beside.tables:
            if rows := part_of(arrays, f"beside/{table.plan.name}"):  # else it is new
                table.load(rows)
        if state._impressions is not None:
            state._impressions.load(part_of(arrays, f"clock/{spec.impressions_topic}"))
        state._offsets |= SourceOffsets(meta["offsets"])
        for name, count in meta["counters"].items():
            setattr(state.counters, name, count)
        return state

    def _stream_sources(self, partitions: int) -> list[StreamSource]:
        """The sources of the rows that events change, in the order of the plan."""
        spec, found = self.spec, list[StreamSource]()
        for number, plan in reversed(list(enumerate(spec.plan.tables))):
            # The label of the first reads the rows of the others.
            tables = LabelTables([source.table for source in found], self._beside)
            source = StreamSource(
                plan,
                spec,
                self.counters,
                Placement(plan.source.placed_by, self.partition, partitions),
                None if number else labelling(spec, self._waits, tables, self.counters),
            )
            found.insert(0, source)
        return found

    def _table_sources(self, partitions: int) -> list[TableSource]:
        """The sources of the rows of tables, in the order of the plan."""
        found = []
        for plan in self.spec.plan.latest:
            placement = Placement(plan.source.placed_by, self.partition, partitions, "Table")
            found.append(TableSource(plan, self.spec, self.counters, placement))
        return found

    def _copy_rows(self, most_bytes: int | None) -> bool:
        """Go on with the copies of the tables' rows, table by table."""
        return all(
            table.copy_rows(most_bytes and max(1, most_bytes // table.plan.bytes_per_entity))
            for table in (*self.row_tables, *self._beside.tables)
        )

    def _queue(self, parts: Sequence[LabelledRows], outcome: Outcome) -> None:
        known = LabelledRows.join(parts, *self._widths)
        rows = without_negatives(known, self.spec.negatives_kept)
        self.counters.negatives_left_out += len(known) - len(rows)
        self.counters.examples += len(rows)
        self.counters.positives += int(np.count_nonzero(rows.labels > 0.5))
        forgotten = self.spec.identity_ids(outcome.forgotten)
        self.example_queue.extend(rows, self.offsets, forgotten)
