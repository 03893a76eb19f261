"""The rows of the entities of one partition, which events change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Bools, Ints
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
