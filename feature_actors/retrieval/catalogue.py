"""The items of a table, in memory: what each is called, its fields, and its place in arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors.retrieval.slot_arrays import side_by_side
from freshrank.feature_actors.streams.columns import Columns, Elements, entity_ids
from freshrank.feature_actors.streams.fields import Field, Kind
from freshrank.feature_actors.streams.table import Table
from freshrank.feature_actors.streams.table_codec import TableRecords

_Number = TypeVar("_Number", np.bool_, np.int64, np.float64)

# Slots of a new catalogue, of which it doubles the number when all are taken.
_FIRST_SLOTS = 1_024
MOST_LISTED = 16
"""Values of a list of a row that filters know, the first ones."""


class ItemCatalogue:
    """The latest row of each item, by slot. The slot of an item that leaves is used again.

    Arrays are replaced when they grow, so that a thread which has taken one may go on with it.

    Parameters
    ----------
    table
        Whose records are the rows.
    most
        Items that are kept; more are refused, and counted.
    """

    def __init__(self, table: Table, most: int) -> None:
        self.table = table
        self.names: list[str] = []
        """By slot, the key of the item that has it, or had it last."""
        self._rows: list[msgspec.Struct | None] = []
        self.alive: Bools = np.zeros(_FIRST_SLOTS, dtype=np.bool_)
        """bool[s]: the slots that have an item."""
        self.stamps_ms: Ints = np.zeros(_FIRST_SLOTS, dtype=np.int64)
        """int64[s]: the timestamp of each row."""
        self.revisions: Ints = np.zeros(_FIRST_SLOTS, dtype=np.int64)
        """int64[s]: how often a row was put into each slot or deleted from it."""
        self.since: Ints = np.zeros(_FIRST_SLOTS, dtype=np.int64)
        """int64[s]: the revision of the first row of the slot's present item."""
        self.version = 0
        """How often records were taken."""
        self.refused: set[str] = set()
        """Keys of the items that there was no room for."""
        self._most = most
        kinds = {name: field.kind for name, field in table.fields.items()}
        self._numbers: dict[str, Doubles] = {
            name: np.zeros(_FIRST_SLOTS) for name, kind in kinds.items() if kind is not Kind.TEXT
        }
        self._ids: dict[str, Ints] = {
            name: np.zeros(_FIRST_SLOTS, dtype=np.int64)
            for name, kind in kinds.items()
            if kind is not Kind.NUMBER
        }
        self.lists = _lists_of(table)
        self._listed: dict[str, Ints] = {
            name: np.zeros((1, _FIRST_SLOTS), dtype=np.int64)
            for name, field in self.lists.items()
            if field.kind is not Kind.NUMBER
        }
        self._slots: dict[str, int] = {}
        self._slots_by_id: dict[int, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def capacity(self) -> int:
        """``s``: the length of the arrays."""
        return len(self.alive)

    def numbers(self, field: str) -> Doubles:
        """float64[s]: a numeric field of each row; NaN where it is None."""
        return self._numbers[field]

    def ids(self, field: str) -> Ints:
        """int64[s]: the ids of a field of text or integers; 0 where it is None."""
        return self._ids[field]

    @property
    def listed_types(self) -> Mapping[str, type]:
        """The lists that filters know, with the types of their values."""
        return {name: self.lists[name].type for name in self._listed}

    @property
    def choices(self) -> Mapping[str, Sequence[str | int]]:
        """The values of those fields, and lists, whose types list them."""
        every = {**self.table.fields, **self.lists}
        return {name: one.choices for name, one in every.items() if one.choices}

    def listed_ids(self, field: str) -> Ints:
        """int64[w, s]: the ids of the first `MOST_LISTED` values of a list; 0 where it has none."""
        return self._listed[field]

    def slot(self, name: str) -> int | None:
        """The slot of the item `name`; None where there is no such item."""
        return self._slots.get(name)

    def slots_of(self, names: Sequence[str]) -> Ints:
        """int64[m]: the slots of those of `names` that are items here."""
        found = [slot for name in names if (slot := self._slots.get(name)) is not None]
        return np.array(found, dtype=np.int64)

    def slots_of_ids(self, ids: Ints) -> Ints:
        """int64[m]: the slots of those ids of items, as features hold them, that are here."""
        found = [slot for id_ in ids.tolist() if (slot := self._slots_by_id.get(id_)) is not None]
        return np.array(found, dtype=np.int64)

    def rows(self, slots: Ints) -> list[msgspec.Struct | None]:
        """The row of each of `slots` int64[m]; None: it has no item."""
        return [self._rows[slot] for slot in slots.tolist()]

    def columns(self, slots: Ints) -> Columns:
        """The rows of the items in `slots` int64[m]; raises KeyError for a slot without an item."""
        rows = [row for row in self.rows(slots) if row is not None]
        if len(rows) != len(slots):
            raise KeyError("a slot without an item")
        stamps_ms = self.stamps_ms[slots]
        return Columns.of_events(self.table.fields, rows, np.zeros_like(stamps_ms), stamps_ms)

    def take(self, records: TableRecords) -> Ints:
        """Put rows and delete those that have tombstones; of one key the last record counts.

        Returns int64[m]: slots that have another item than before.
        """
        self.version += 1
        last = {name: place for place, name in enumerate(records.names)}
        kept = [place for place in last.values() if records.rows[place] is not None]
        for name, place in last.items():
            if records.rows[place] is None:
                self._delete(name)
        return self._put(records.take(np.array(kept, dtype=np.int64))) if kept else _NO_SLOTS

    def _put(self, records: TableRecords) -> Ints:
        """Put rows of different items."""
        new = [name for name in records.names if name not in self._slots]
        fresh = self._assign(new)
        places = [place for place, name in enumerate(records.names) if name in self._slots]
        records = records.take(np.array(places, dtype=np.int64))
        columns = records.columns()
        slots = self.slots_of(records.names)
        self.stamps_ms[slots] = records.stamps_ms
        for name, numbers in self._numbers.items():
            numbers[slots] = columns.number(name)
        for name, ids in self._ids.items():
            ids[slots] = columns.hashed(name)
        for name, listed in self._listed.items():
            self._listed[name] = _with_lists(listed, slots, columns.elements(name), name)
        for slot, row in zip(slots.tolist(), records.rows, strict=True):
            self._rows[slot] = row
        self.revisions[slots] += 1  # at last: a thread that sees it finds the row
        return fresh

    def _assign(self, names: Sequence[str]) -> Ints:
        """Give new items slots, as far as there is room. Returns the slots, int64[m]."""
        room = self._most - len(self._slots)
        self.refused.update(names[room:])
        names = names[:room]
        slots = [self._free.pop() if self._free else self._next_slot() for _ in names]
        key = self.table.fields[self.table.key.key]
        for slot, name, id_ in zip(slots, names, entity_ids(key, names).tolist(), strict=True):
            self._slots[name] = self._slots_by_id[id_] = slot
            self.names[slot] = name
        self.refused.difference_update(names)
        found = np.array(slots, dtype=np.int64)
        self.since[found] = self.revisions[found] + 1
        self.alive[found] = True
        return found

    def _next_slot(self) -> int:
        slot = len(self.names)
        if slot == self.capacity:
            self.alive = _doubled(self.alive)
            self.stamps_ms = _doubled(self.stamps_ms)
            self.revisions = _doubled(self.revisions)
            self.since = _doubled(self.since)
            self._numbers = {name: _doubled(one) for name, one in self._numbers.items()}
            self._ids = {name: _doubled(one) for name, one in self._ids.items()}
            self._listed = {name: _doubled(one) for name, one in self._listed.items()}
        self.names.append("")
        self._rows.append(None)
        return slot

    def _delete(self, name: str) -> None:
        self.refused.discard(name)
        slot = self._slots.pop(name, None)
        if slot is None:
            return
        key = self.table.fields[self.table.key.key]
        del self._slots_by_id[int(entity_ids(key, [name])[0])]
        self.alive[slot] = False
        self._rows[slot] = None
        self.revisions[slot] += 1
        self._free.append(slot)


def _lists_of(table: Table) -> Mapping[str, Field]:
    """The fields of a table that are lists of values."""
    every = table.fields.with_elements.items()
    return {name: field for name, field in every if field.each == name}


_NO_SLOTS: Ints = np.zeros(0, dtype=np.int64)


def _doubled(array: NDArray[_Number]) -> NDArray[_Number]:
    return np.concatenate([array, np.zeros_like(array)], axis=-1)


def _with_lists(listed: Ints, slots: Ints, elements: Elements, field: str) -> Ints:
    """`listed` int64[w, s] with the lists of the rows in `slots`, and as wide as these need it."""
    ids = side_by_side(elements.hashed(field), elements.owners, len(slots), MOST_LISTED).T
    missing = int(np.flatnonzero(ids.any(axis=1)).max(initial=-1)) + 1 - len(listed)
    if missing > 0:
        wider = np.zeros((missing, listed.shape[1]), dtype=np.int64)
        listed = np.concatenate([listed, wider])
    listed[:, slots] = ids[: len(listed)]
    return listed
