"""The rows of the entities of one partition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from freshrank.actors.messages import Bools, Doubles, Ints
from freshrank.feature_actors import kernels
from freshrank.feature_actors.columns import Columns
from freshrank.feature_actors.kernels import EventArrays, FeatureBlock
from freshrank.feature_actors.plan import FeaturePlan

_FIRST_ROWS = 1_024

# Idle entities are looked for when event time has moved by this part of what a row retains: the
# look touches every row, and rows then stay at most an eighth longer than they must.
_IDLE_PARTS = 8

# A full table is cut to this part of its bound, so that the next cut is not the next batch's.
_CUT_TO = 0.95


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of ``n`` events."""

    slots: Ints
    """int64[n]: the row of each event's entity."""
    late: Bools
    """bool[n]: too old for every aggregate that it was meant for; it changed nothing."""
    before: FeatureBlock | None
    """The features just before each event, as of its time, where they were asked for."""


class _Index(dict[str, int]):
    """Entity to slot; an unknown entity gets the next free slot when it is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        """By slot; of a free slot: the name that it had."""
        self.free: list[int] = []

    def __missing__(self, name: str) -> int:
        if self.free:
            slot = self.free.pop()
            self.names[slot] = name
        else:
            slot = len(self.names)
            self.names.append(name)
        self[name] = slot
        return slot


class EntityTable:
    """Rows of `plan`, one an entity; more than `max_entities` only until the next `evict`."""

    def __init__(self, plan: FeaturePlan, max_entities: int) -> None:
        self.plan = plan
        self.max_entities = max_entities
        self._index = _Index()
        self._rows = self._blank(_FIRST_ROWS)
        self._evicted_at = 0

    def __len__(self) -> int:
        return len(self._index)

    def apply(self, columns: Columns, before: bool) -> Applied:
        """Apply events in order; with `before`, also read each row just before its event."""
        names = columns.text(self.plan.entity.key)
        slots = np.fromiter(map(self._index.__getitem__, names), np.int64, len(names))
        self._grow()
        trace = kernels.blank_trace(len(slots))
        out = self.plan.block(len(slots) if before else 0)
        events = self._events(columns, slots)
        kernels.apply_events(self.plan.program, kernels.views(self._rows), events, trace, out)
        return Applied(slots, trace.late, out if before else None)

    def rows(self, slots: Ints) -> Doubles:
        """float64[m, words]: a copy of the rows at `slots`."""
        return self._rows[slots]

    def slots(self) -> Ints:
        """int64[len]: the slots in use, in the order of `arrays`."""
        return np.fromiter(self._index.values(), np.int64, len(self))

    def entities(self, slots: Ints) -> list[str]:
        """The entities at `slots`."""
        names = self._index.names
        return [names[slot] for slot in slots.tolist()]

    def row(self, entity: str) -> Doubles | None:
        """float64[words]: a copy of the entity's row, None when it has none."""
        slot = self._index.get(entity)
        return None if slot is None else self._rows[slot].copy()

    def evict(self, now_event_ms: int) -> list[str]:
        """Drop entities whose rows hold nothing that could matter, and the oldest when full.

        `now_event_ms` is the newest event time of the partition. Gives the entities dropped.
        """
        horizon = self.plan.horizon_ms
        idle_due = horizon is not None and now_event_ms - self._evicted_at > horizon // _IDLE_PARTS
        if not idle_due and len(self) <= self.max_entities:
            return []
        slots = np.fromiter(self._index.values(), np.int64, len(self))
        newest = self._rows[slots, kernels.NEWEST].view(np.int64)
        going = np.zeros(len(slots), dtype=np.bool_)
        if horizon is not None and idle_due:
            going |= newest < now_event_ms - horizon
            self._evicted_at = now_event_ms
        left = len(slots) - int(going.sum())
        if left > self.max_entities:
            surplus = len(slots) - int(_CUT_TO * self.max_entities)
            going[np.argsort(newest, kind="stable")[:surplus]] = True
        return self._drop(slots[going])

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, for a snapshot: rows float64[m, words], names as UTF-8 and their ends."""
        names = [name.encode() for name in self._index]
        slots = np.fromiter(self._index.values(), np.int64, len(self))
        return {
            "rows": self._rows[slots],
            "names": np.frombuffer(b"".join(names), dtype=np.uint8),
            "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
            "evicted_at": np.array([self._evicted_at]),
        }

    @classmethod
    def restore(
        cls, plan: FeaturePlan, max_entities: int, arrays: Mapping[str, NDArray[np.generic]]
    ) -> EntityTable:
        """The table whose `arrays` these are (of a plan with the same fingerprint)."""
        table = cls(plan, max_entities)
        text, begin = arrays["names"].tobytes(), 0
        for end in arrays["name_ends"].tolist():
            table._index[text[begin:end].decode()]
            begin = end
        table._grow()
        table._rows[: len(table)] = arrays["rows"]
        table._evicted_at = int(arrays["evicted_at"][0])
        return table

    def _events(self, columns: Columns, slots: Ints) -> EventArrays:
        layout, events = self.plan.layout, len(columns)
        masks = np.empty((len(layout.conditions), events), dtype=np.bool_)
        for line, condition in enumerate(layout.conditions.values()):
            masks[line] = condition.evaluate(columns)
        numbers = np.empty((len(layout.numbers), events), dtype=np.float64)
        for line, name in enumerate(layout.numbers):
            numbers[line] = columns.number(name)
        keys = np.empty((len(layout.keys), events), dtype=np.int64)
        for line, name in enumerate(layout.keys):
            keys[line] = columns.hashed(name)
        return EventArrays(slots, columns.event_times_ms, columns.offsets, masks, numbers, keys)

    def _blank(self, rows: int) -> Doubles:
        return np.tile(self.plan.empty_row, (rows, 1))

    def _grow(self) -> None:
        needed = len(self._index.names)
        if needed > len(self._rows):
            more = max(needed, len(self._rows) * 3 // 2) - len(self._rows)
            self._rows = np.concatenate([self._rows, self._blank(more)])

    def _drop(self, slots: Ints) -> list[str]:
        dropped = self.entities(slots)
        for name in dropped:
            del self._index[name]
        self._index.free += slots.tolist()
        self._rows[slots] = self.plan.empty_row
        return dropped
