"""The rows of the entities of one partition, which events change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.frozen import StateView
from freshrank.feature_actors.aggregations.dispatch import apply_events, begin_events, end_events
from freshrank.feature_actors.aggregations.kernel_types import (
    FeatureBlock,
    blank_trace,
    views,
)
from freshrank.feature_actors.state.inputs_of_events import apply_elements, event_arrays
from freshrank.feature_actors.state.row_table import RowTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.views.table_plan import TablePlan


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of applying ``n`` events."""

    slots: Ints
    """int64[n]: the row of each event's entity."""
    late: Bools
    """bool[n]: too old for every aggregate that it was meant for; it changed nothing."""
    before: FeatureBlock | None
    """The features just before each event, as of its time, where they were asked for."""


class EntityTable(RowTable):
    """The rows of entities, laid out by a plan of features."""

    plan: TablePlan

    def apply(self, columns: Columns, before: bool) -> Applied:
        """Apply events in order; with `before`, also read each row just before its event."""
        slots = self._assign(columns)
        self._keep(slots)
        rows, newest = views(self._rows), np.empty(len(slots), dtype=np.int64)
        begin_events(rows.longs, slots, columns.event_times_ms, newest)
        trace = blank_trace(newest)
        out = self.plan.block(len(slots) if before else 0)
        for part in self.plan.program_parts:
            if part.each:
                elements = columns.elements(part.each)
                apply_elements(part, rows, elements, slots, trace, out)
            else:
                events = event_arrays(part.inputs, columns, slots)
                apply_events(part.program, rows, events, trace, out)
        late = np.empty(len(slots), dtype=np.bool_)
        end_events(rows.longs, slots, columns.offsets, trace.taken, trace.refused, late)
        return Applied(slots, late, out if before else None)


class RowsBeside:
    """The rows of other entities that the events of a stream name, for the examples of these.

    A table for each of `plans`, of at most `max_entities` rows, which the events of one partition
    fill in order. The online store has its rows from other shards.
    """

    def __init__(self, plans: Sequence[TablePlan], max_entities: int) -> None:
        self.tables = [EntityTable(plan, max_entities) for plan in plans]

    @property
    def nbytes(self) -> int:
        """Memory held by rows."""
        return sum(len(table) * table.plan.bytes_per_entity for table in self.tables)

    def take(self, columns: Columns) -> list[tuple[FeatureBlock, Ints]]:
        """Apply events; gives for each table features, and int64[n]: each event's line of them.

        They are those just before the event. One that lacks a part of an entity's id changes no
        row of it, and has the features of an empty one.
        """
        return [_taken(table, columns) for table in self.tables]

    def forget(self, owner: str) -> None:
        """Drop the rows of compound entities of which `owner`, who keys the events, is a part."""
        for table in self.tables:
            if table.plan.owner_part is not None:
                table.drop_owned(owner)

    def evict(self, newest_event_ms: int) -> int:
        """Drop entities when that is due; gives how many there were."""
        return sum(len(table.evict(newest_event_ms)) for table in self.tables)

    def freeze(self) -> dict[str, StateView]:
        """The state of now, for a snapshot, by the names of its parts."""
        return {table.plan.name: table.freeze() for table in self.tables}


def _taken(table: EntityTable, columns: Columns) -> tuple[FeatureBlock, Ints]:
    entity, lines = table.plan.entity, np.arange(len(columns))
    whole = np.flatnonzero(~columns.part_faults(entity.key).any)
    before = _before(table, columns.take(whole))
    if len(whole) == len(columns):
        return before, lines
    empty = table.plan.read(table.plan.empty_row.reshape(1, -1), np.zeros(1, dtype=np.int64))
    lines[:] = len(whole)
    lines[whole] = np.arange(len(whole))
    pairs = zip(before, empty, strict=True)
    return FeatureBlock(*(np.concatenate(pair) for pair in pairs)), lines


def _before(table: EntityTable, columns: Columns) -> FeatureBlock:
    before = table.apply(columns, before=True).before
    assert before is not None  # it was asked for
    return before
