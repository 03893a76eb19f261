"""The rows of the entities of one partition, which events change."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freshrank.actors.messages import Bools, Ints
from freshrank.feature_actors.aggregations.dispatch import apply_events
from freshrank.feature_actors.aggregations.kernel_types import (
    EventArrays,
    FeatureBlock,
    blank_trace,
    views,
)
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
        trace = blank_trace(len(slots))
        out = self.plan.block(len(slots) if before else 0)
        events = self._events(columns, slots)
        apply_events(self.plan.program, views(self._rows), events, trace, out)
        return Applied(slots, trace.late, out if before else None)

    def _events(self, columns: Columns, slots: Ints) -> EventArrays:
        layout, events = self.plan.layout, len(columns)
        masks = np.empty((len(layout.conditions), events), dtype=np.bool_)
        for line, condition in enumerate(layout.conditions.values()):
            masks[line] = condition.evaluate(columns)
        numbers = np.empty((len(layout.numbers), events), dtype=np.float64)
        for line, number in enumerate(layout.numbers.values()):
            numbers[line] = number.evaluate(columns)
        keys = np.empty((len(layout.keys), events), dtype=np.int64)
        for line, name in enumerate(layout.keys):
            keys[line] = columns.hashed(name)
        return EventArrays(slots, columns.event_times_ms, columns.offsets, masks, numbers, keys)
