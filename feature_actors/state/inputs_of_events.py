"""What programs read of events, and of the elements of their lists, as arrays."""

from __future__ import annotations

import numpy as np

from freshrank.actors.messages import Ints
from freshrank.feature_actors.aggregations.dispatch import apply_events
from freshrank.feature_actors.aggregations.kernel_types import (
    EventArrays,
    FeatureBlock,
    RowViews,
    Trace,
    blank_trace,
)
from freshrank.feature_actors.aggregations.row_layout import LineInputs
from freshrank.feature_actors.streams.columns import Elements
from freshrank.feature_actors.streams.lines.field_columns import FieldColumns
from freshrank.feature_actors.views.table_plan import ProgramPart


def event_arrays(inputs: LineInputs, columns: FieldColumns, slots: Ints) -> EventArrays:
    """The `inputs` of each line of `columns`, whose rows are at `slots` int64[n]."""
    count = len(columns)
    masks = np.empty((len(inputs.conditions), count), dtype=np.bool_)
    for line, condition in enumerate(inputs.conditions.values()):
        masks[line] = condition.evaluate(columns)
    numbers = np.empty((len(inputs.numbers), count), dtype=np.float64)
    for line, number in enumerate(inputs.numbers.values()):
        numbers[line] = number.evaluate(columns)
    keys = np.empty((len(inputs.keys), count), dtype=np.int64)
    for line, name in enumerate(inputs.keys):
        keys[line] = columns.hashed(name)
    return EventArrays(slots, columns.event_times_ms, masks, numbers, keys)


def apply_elements(
    part: ProgramPart,
    rows: RowViews,
    elements: Elements,
    slots: Ints,
    trace: Trace,
    out: FeatureBlock,
) -> None:
    """Apply each element as an event of its own, at the time of the event that has it.

    `slots`, `trace` and `out` are those of the events. The rows just before an event are those just
    before its first element. An event without elements changes nothing but the time of its row.
    """
    owners, firsts, blank = elements.owners, elements.firsts, elements.blank
    given = event_arrays(part.inputs, elements, slots[owners])
    given.masks[:, blank], given.numbers[:, blank], given.keys[:, blank] = False, np.nan, 0
    # After its first element, a row has seen the event's time.
    newest = np.maximum(trace.newest[owners], given.times)
    newest[firsts] = trace.newest
    own = blank_trace(newest)
    # Operations write their own columns only: those of others go through unchanged.
    block = out
    if len(out.values):
        block = FeatureBlock(out.values[owners], out.ids[owners], out.id_weights[owners])
    apply_events(part.program, rows, given, own, block)
    for flags, of_elements in ((trace.taken, own.taken), (trace.refused, own.refused)):
        flags[:] |= np.logical_or.reduceat(of_elements, firsts)
    if block is not out:
        for column, mine in zip(out, block, strict=True):
            column[:] = mine[firsts]
