"""Tables that track the rows and removals that the online store has not got yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from freshrank.actors.messages import Bools, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView, text_arrays, texts_of
from freshrank.feature_actors.state.dirty_rows import DirtySlots
from freshrank.feature_actors.state.entity_table import Applied, EntityTable
from freshrank.feature_actors.state.row_table import RowTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.views.row_plan import RowPlan


class TrackedRows(RowTable):
    """The rows of `plan` of one partition, of at most `max_entities` after an `evict`."""

    def __init__(self, plan: RowPlan, max_entities: int) -> None:
        super().__init__(plan, max_entities)
        self.dirty = DirtySlots()
        """Slots whose rows changed since they were last taken for the online store."""
        self.evicted: list[str] = []
        """Entities dropped from the table whose rows the online store may still hold."""
        self.evictions = 0
        """How many times entities were dropped: only then do slots change their owners."""

    def evict(self, now_event_ms: int) -> list[str]:
        """Drop entities, when that is due (see `RowTable.evict`)."""
        gone = super().evict(now_event_ms)
        self._note_dropped(gone)
        return gone

    def delete(self, entities: Sequence[str]) -> int:
        """Drop the rows of `entities`, each named once; gives how many had one."""
        gone = self.drop(entities)
        self._note_dropped(gone)
        return len(gone)

    def delete_owned(self, owner: str) -> int:
        """Drop the rows of compound entities of `owner`; gives how many there were."""
        gone = self.drop_owned(owner)
        self._note_dropped(gone)
        return len(gone)

    def mark_again(self, slots: Ints) -> None:
        """Mark rows at `slots` int64[m] as not written, as far as they still are entities'."""
        self.dirty.mark(slots[np.isin(slots, self.slots())])

    def mark_all(self) -> None:
        """Mark every row as not written."""
        self.dirty.mark(self.slots())

    def freeze_unwritten(self, under_way: Ints | None = None) -> StateView:
        """The rows, in the order of slots, and removals that the online store has not got now.

        `under_way` int64[m] are slots whose rows were sent and are not confirmed.
        """
        dirty = self.dirty.among(self.size)
        if under_way is not None:
            dirty[under_way] = True
        return partial(_unwritten_arrays, dirty, self.slots(), list(self.evicted))

    def load_unwritten(self, arrays: Mapping[str, Array]) -> None:
        """Mark the rows and removals of the frozen `arrays`, after the rows were loaded."""
        self.evicted = texts_of(arrays["evicted"], arrays["evicted_ends"])
        self.dirty.mark(np.flatnonzero(arrays["dirty"]))

    def _note_dropped(self, gone: list[str]) -> None:
        """The entities `gone` have left the table: the online store has to remove their rows."""
        if not gone:
            return
        self.evictions += 1
        self.evicted += gone
        names = set(gone)
        slots = self.dirty.take(len(self.dirty))
        stay = [name not in names for name in self.entities(slots)]
        self.dirty.mark(slots[np.array(stay, dtype=np.bool_)])


class TrackedTable(TrackedRows, EntityTable):
    """The rows that events change."""

    def apply(self, columns: Columns, before: bool) -> Applied:
        """Apply events (see `EntityTable.apply`); the rows that changed become dirty."""
        applied = super().apply(columns, before)
        self.dirty.mark(applied.slots[~applied.late] if applied.late.any() else applied.slots)
        return applied


def _unwritten_arrays(dirty: Bools, slots: Ints, evicted: list[str]) -> dict[str, Array]:
    names, ends = text_arrays(evicted)
    return {"dirty": dirty[slots], "evicted": names, "evicted_ends": ends}
