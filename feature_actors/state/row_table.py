"""The rows of the entities of one partition, whatever changes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from freshrank.actors.messages import Doubles, Ints
from freshrank.actors.snapshots.file_format import Array
from freshrank.actors.snapshots.frozen import StateView, texts_of
from freshrank.feature_actors.aggregations.kernel_types import NEWEST, OFFSET
from freshrank.feature_actors.state import hash_table
from freshrank.feature_actors.state.owner_index import OwnerIndex
from freshrank.feature_actors.state.table_copy import RowMemory, TableCopy
from freshrank.feature_actors.streams.columns import Columns, entity_ids
from freshrank.feature_actors.views.row_plan import RowPlan

LEAST_ROWS = 1_024
"""Rows that the smallest table has memory for."""

# Idle entities are dropped when event time has moved by this part of a row's horizon: a check
# touches every row, and rows then stay at most an eighth longer than they must.
_IDLE_PARTS = 8

ROOM = 1.05
"""Room for rows, as a multiple of the table's bound, which may be exceeded between two checks."""

# A table that holds too many entities keeps this share of its bound, so that the next check need
# not drop any.
_KEPT_SHARE = 0.95


class RowTable:
    """The rows of entities, laid out by `plan`: beyond `max_entities` only until the next `evict`.

    Entities are told apart by their 64-bit ids: among a million of them, two share a row with a
    probability of 3e-8.
    """

    def __init__(self, plan: RowPlan, max_entities: int) -> None:
        self.plan = plan
        self.max_entities = max_entities
        self._slots = hash_table.blank(0)
        self._names: list[str] = []
        """By slot; of a free slot: the name that it had."""
        self._free: Ints = np.zeros(0, dtype=np.int64)
        self._rows = self._blank(LEAST_ROWS)
        self._evicted_at = 0
        self._copy: TableCopy | None = None
        """The copy under way."""
        self._owners: OwnerIndex | None = None
        if plan.owner_part is not None:
            self._owners = OwnerIndex(plan.owner_part, len(plan.entity.parts))

    def __len__(self) -> int:
        return len(self._names) - len(self._free)

    @property
    def capacity(self) -> int:
        """Rows that it has memory for."""
        return len(self._rows)

    @property
    def size(self) -> int:
        """Slots, with those that are free at present."""
        return len(self._names)

    def slots(self) -> Ints:
        """int64[e]: where each entity's row lies, ascending."""
        live = np.ones(len(self._names), dtype=np.bool_)
        live[self._free] = False
        return np.flatnonzero(live)

    def rows(self, slots: Ints) -> Doubles:
        """float64[m, words]: a copy of the rows at `slots`."""
        return self._rows[slots]

    def entities(self, slots: Ints) -> list[str]:
        """The entities at `slots`."""
        return [self._names[slot] for slot in slots.tolist()]

    def rows_of(self, ids: Ints) -> Doubles:
        """float64[n, words]: a copy of the row of each entity id int64[n], empty where it has none.

        Ids are those of `Columns.hashed` for the entity's key.
        """
        slots = np.empty(len(ids), dtype=np.int64)
        hash_table.look_up(self._slots, ids, slots)
        rows = self._rows[slots]
        rows[slots < 0] = self.plan.empty_row
        return rows

    def row(self, entity: str) -> Doubles | None:
        """float64[words]: a copy of the entity's row, None when it has none."""
        slot = np.empty(1, dtype=np.int64)
        hash_table.look_up(self._slots, self._ids([entity]), slot)
        return None if slot[0] < 0 else self._rows[slot[0]].copy()

    @property
    def idle_look_ms(self) -> int | None:
        """The event time beyond which `evict` looks for idle entities; None: it never does."""
        horizon = self.plan.horizon_ms
        return None if horizon is None else self._evicted_at + horizon // _IDLE_PARTS

    def evict(self, now_event_ms: int) -> list[str]:
        """Drop entities whose rows are past every horizon, and the oldest when there are too many.

        `now_event_ms` is the newest event time of the stream. Returns the entities dropped.
        """
        horizon, due_ms = self.plan.horizon_ms, self.idle_look_ms
        idle_due = due_ms is not None and now_event_ms > due_ms
        if not idle_due and len(self) <= self.max_entities:
            return []
        slots = self.slots()
        header = self._rows.view(np.int64)[slots, : OFFSET + 1]
        newest = header[:, NEWEST]
        going = np.zeros(len(slots), dtype=np.bool_)
        if horizon is not None and idle_due:
            going |= newest < now_event_ms - horizon
            self._evicted_at = now_event_ms
        if len(slots) - int(going.sum()) > self.max_entities:
            surplus = len(slots) - int(_KEPT_SHARE * self.max_entities)
            # By offset where times are equal: slots do not follow from the log alone.
            going[np.lexsort((header[:, OFFSET], newest))[:surplus]] = True
        return self._drop(slots[going])

    def drop(self, entities: Sequence[str]) -> list[str]:
        """Drop the rows of `entities`, each named once; gives those that had one."""
        slots = np.empty(len(entities), dtype=np.int64)
        hash_table.look_up(self._slots, self._ids(list(entities)), slots)
        return self._drop(slots[slots >= 0])

    def drop_owned(self, owner: str) -> list[str]:
        """Drop the rows of compound entities of `owner`; gives those that there were."""
        assert self._owners is not None
        return self.drop(self._owners.names_of(owner, self._names))

    def forget_offsets(self) -> None:
        """Let no row name a record: those of before are not of the topic that is read on."""
        self._rows.view(np.int64)[:, OFFSET] = -1

    def freeze(self, memory: RowMemory | None = None) -> StateView:
        """Begin a copy of the table, its rows in `memory`; `copy_rows` makes it whole.

        Rows float64[m, words], names as UTF-8 and their ends, and the time of the last check.
        """
        self.copy_rows(None)  # the copy under way is finished first
        rows = (memory or RowMemory(self.plan.row_words)).take(len(self))
        copy = self._copy = TableCopy(self.slots(), self._names.copy(), rows)
        evicted_at = np.array([self._evicted_at])
        return lambda: {**copy.arrays(), "evicted_at": evicted_at}

    def copy_rows(self, most: int | None) -> bool:
        """Go on with the copy by up to `most` rows (None: all); returns whether it is whole."""
        if self._copy is not None:
            self._copy.advance(self._rows, most)
            if self._copy.complete:
                self._copy = None
        return self._copy is None

    @classmethod
    def restore(cls, plan: RowPlan, max_entities: int, arrays: Mapping[str, Array]) -> Self:
        """The table whose frozen `arrays` these are (of a plan with the same fingerprint)."""
        table = cls(plan, max_entities)
        table.load(arrays)
        return table

    def load(self, arrays: Mapping[str, Array]) -> None:
        """Become the table whose frozen `arrays` these are, from an empty one."""
        self._names = texts_of(arrays["names"], arrays["name_ends"])
        slots = np.arange(len(self._names))
        self._index(slots)
        if self._owners is not None:
            self._owners.note(slots, self._names)
        self._rows = np.concatenate([arrays["rows"], self._blank(LEAST_ROWS)])
        self._evicted_at = int(arrays["evicted_at"][0])

    def _assign(self, columns: Columns) -> Ints:
        """The slot of each event's entity; a new entity gets a free slot."""
        count = len(columns)
        if len(self) + count > hash_table.room(len(self._slots)):
            larger = hash_table.blank(len(self) + count)
            hash_table.insert(larger, hash_table.entries_of(self._slots))
            self._slots = larger
        free = self._free[:count]
        offered = np.arange(len(self._names), len(self._names) + count - len(free))
        if len(free):
            offered = np.concatenate([free, offered])
        slots, firsts = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
        ids = columns.hashed(self.plan.entity.key)
        added = hash_table.assign(self._slots, ids, offered, slots, firsts)
        if added:
            self._name(slots[firsts[:added]], firsts[:added], columns)
        return slots

    def _name(self, slots: Ints, firsts: Ints, columns: Columns) -> None:
        """Note the names of new entities at `slots` and make room for their rows."""
        names = columns.take(firsts).text(self.plan.entity.key)
        self._free = self._free[len(slots) :]
        for slot, name in zip(slots.tolist(), names, strict=True):
            if slot < len(self._names):
                self._names[slot] = name
            else:
                self._names.append(name)
        if self._owners is not None:
            self._owners.note(slots, self.entities(slots))
        needed, present = len(self._names), len(self._rows)
        if needed > present:
            wanted, bound = present * 3 // 2, int(ROOM * self.max_entities)
            if needed <= bound < wanted:
                wanted = bound
            rows = np.empty((max(needed, wanted), self.plan.row_words))
            rows[:present], rows[present:] = self._rows, self.plan.empty_row
            self._rows = rows

    def _keep(self, slots: Ints) -> None:
        """The rows at `slots` are about to change."""
        if self._copy is not None:
            self._copy.keep(self._rows, slots)

    def _blank(self, rows: int) -> Doubles:
        return np.tile(self.plan.empty_row, (rows, 1))

    def _ids(self, names: list[str]) -> Ints:
        return entity_ids(self.plan.source.fields[self.plan.entity.key], names)

    def _index(self, slots: Ints) -> None:
        """Rebuild the hash table, for the entities at `slots`."""
        self._slots = hash_table.blank(len(slots))
        hash_table.insert(self._slots, np.stack([self._ids(self.entities(slots)), slots], axis=1))

    def _drop(self, slots: Ints) -> list[str]:
        dropped = self.entities(slots)
        if dropped:
            self._free = np.concatenate([self._free, slots])
            self._keep(slots)
            self._rows[slots] = self.plan.empty_row
            hash_table.remove(self._slots, self._ids(dropped))
        return dropped
