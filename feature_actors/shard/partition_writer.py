"""Writes the rows of a partition to the online store, after it has claimed the partition there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TypeAlias

import numpy as np

from freshrank.actors.clock import Clock
from freshrank.actors.errors import ProgressError
from freshrank.actors.messages import BEGINNING, Ints, SourceOffsets, dominates
from freshrank.actors.protocols import OnlineStore, WriteOutcome
from freshrank.actors.transitions import next_state
from freshrank.feature_actors.aggregations.kernel_types import NEWEST
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.state.row_sweep import RowSweep
from freshrank.feature_actors.state.tracked_table import TrackedRows

# Rows copied and sent at once: what a table is read for stays below 2 MB, and a partition does
# not wait long behind another.
MOST_ROWS = 2000

RowsWritten: TypeAlias = Callable[[int, Ints], None]
"""Takes how many rows were written, and int64[m]: for each row that an event has changed, the time
in ms of its newest event."""


class WriterState(Enum):
    """The states of a partition's writer."""

    UNCLAIMED = "unclaimed"
    """It has to claim the partition first."""
    CATCHING_UP = "catching up"
    """The store may hold rows of events that have not been read again: older ones must not
    replace them."""
    WRITING = "writing"


class WriterEvent(Enum):
    """The events of a partition's writer."""

    CLAIMED = "claimed"
    CAUGHT_UP = "caught up"
    LOST = "lost"
    """The store has forgotten the claim, or a call of this epoch may yet reach it."""


TRANSITIONS: Mapping[WriterState, Mapping[WriterEvent, WriterState]] = {
    WriterState.UNCLAIMED: {WriterEvent.CLAIMED: WriterState.CATCHING_UP},
    WriterState.CATCHING_UP: {
        WriterEvent.CLAIMED: WriterState.CATCHING_UP,
        WriterEvent.CAUGHT_UP: WriterState.WRITING,
        WriterEvent.LOST: WriterState.UNCLAIMED,
    },
    WriterState.WRITING: {
        WriterEvent.CLAIMED: WriterState.CATCHING_UP,
        WriterEvent.LOST: WriterState.UNCLAIMED,
    },
}


class PartitionWriter:
    """Writes the rows of a partition's tables, and removes those of dropped entities.

    Parameters
    ----------
    epoch
        Of the shard's start: the store refuses writers of a lower epoch. It grows by 1 after a call
        that was not answered: tries are further apart than the milliseconds of starts.
    """

    def __init__(
        self, partition: PartitionState, store: OnlineStore, epoch: int, clock: Clock
    ) -> None:
        self._partition = partition
        self._clock = clock
        self._number = partition.spec.first_claim + partition.partition
        self._store = store
        self._epoch = epoch
        self._claiming = asyncio.Lock()
        self._written = BEGINNING
        """The store's rows contain events below these offsets only."""
        self._keys = {table.plan.name: _RowKeys(partition, table) for table in partition.row_tables}
        self._sweeps = {table.plan.name: RowSweep(table) for table in partition.row_tables}
        self.under_way: dict[str, Ints] = {}
        """By table, int64[m] slots whose rows were sent and are not confirmed."""
        self.state = WriterState.UNCLAIMED
        self._filled = False
        """Whether the store is marked as having every row."""
        self._fillings = 0
        """How often the store turned out to have no rows."""
        self._restored_ms = self._newest_ms()
        """Rows without a later event are written for a store that has lost them, or never had them:
        when they are says nothing of events."""

    @property
    def waiting(self) -> int:
        """Rows that are dirty, or sent and not confirmed."""
        dirty = sum(len(table.dirty) for table in self._partition.row_tables)
        return dirty + sum(map(len, self.under_way.values()))

    async def claim(self) -> None:
        """Become the partition's writer, or confirm it; a store without rows gets them all.

        Raises Unavailable, and ProgressError when a writer with a higher epoch has claimed.
        """
        async with self._claiming:  # a claim is refused after a claim of a later epoch
            await self._claim()

    async def _claim(self) -> None:
        epoch = self._epoch
        written = await self._store.claim(self._number, epoch)
        if epoch != self._epoch:
            return  # a write has failed meanwhile: the next flush claims again
        self._happen(WriterEvent.CLAIMED)
        if written is None:
            for table in self._partition.row_tables:
                table.mark_all()
            self._filled = False
            if self._fillings:  # at first the rows are those of the snapshot
                self._restored_ms = self._newest_ms()
            self._fillings += 1
        elif self._filled:
            await self._mark_filled()  # the mark expires, as the claim does
        # Offsets of topics that are no longer read will never be reached again.
        self._written = (written or BEGINNING).only(self._partition.spec.topics)
        self.look()

    def look(self) -> None:
        """Begin to write when all that the store may hold has been read again."""
        reached = dominates(self._partition.offsets, self._written)
        if reached and self.state is WriterState.CATCHING_UP:
            self._happen(WriterEvent.CAUGHT_UP)

    async def flush(self, written: RowsWritten) -> None:
        """Write all that is dirty now, and tell `written` of it.

        Raises Unavailable (what was not written stays dirty), ProgressError.
        """
        if self.state is WriterState.UNCLAIMED:
            await self.claim()
        self.look()
        fillings = self._fillings
        for table in self._partition.row_tables:
            if table.evicted and self.state is WriterState.WRITING:
                await self._remove(table)
            left = len(table.dirty)
            while left > 0 and self.state is WriterState.WRITING:
                slots = table.dirty.take(min(left, MOST_ROWS))
                left -= len(slots)
                await self._write(table, slots, written)
        # All that was dirty is written, unless the store was emptied meanwhile.
        writing = self.state is WriterState.WRITING
        if writing and not self._filled and fillings == self._fillings:
            await self._mark_filled()

    async def sweep(self, share: float) -> int:
        """Look for the next `share` of each table's rows, and keep them from expiring.

        Rows that are missing become dirty; returns their number. Raises Unavailable.
        """
        if self.state is WriterState.UNCLAIMED:
            return 0
        found = 0
        for table in self._partition.row_tables:
            slots = self._sweeps[table.plan.name].take(math.ceil(share * len(table)))
            if len(slots):
                found += await self._look_for(table, slots)
        return found

    async def _look_for(self, table: TrackedRows, slots: Ints) -> int:
        name, evictions = table.plan.name, table.evictions
        # A row that is on its way need not be there yet.
        waiting = table.dirty.among(table.size)
        waiting[self.under_way.get(name, slots[:0])] = True
        slots = slots[~waiting[slots]]
        places = await self._store.refresh(self._number, self._epoch, self._keys[name].of(slots))
        if table.evictions != evictions:
            return 0  # slots have new owners: the next sweep looks for them
        table.dirty.mark(slots[places])
        if len(places):
            self._restored_ms = self._newest_ms()
        return len(places)

    def _newest_ms(self) -> int:
        """The time in ms of the newest event, at most that of now (some clocks are ahead)."""
        return min(self._partition.newest_event_ms, self._clock.now_ms())

    async def _write(self, table: TrackedRows, slots: Ints, written: RowsWritten) -> None:
        partition, name, topic = self._partition, table.plan.name, table.plan.source.log_topic
        keys, rows = self._keys[name].of(slots), table.rows(slots)
        newest_ms = rows.view(np.int64)[:, NEWEST].copy()
        reached = SourceOffsets({topic: partition.offsets[topic]})
        self.under_way[name] = slots
        try:
            outcome = await self._store.write(
                self._number, self._epoch, reached, keys, rows.data.cast("B")
            )
        except BaseException:
            table.mark_again(slots)
            self._fence_late_calls()
            raise
        finally:
            del self.under_way[name]
        if self._is_written(outcome):
            written(len(slots), newest_ms[newest_ms > self._restored_ms])
        else:
            table.mark_again(slots)

    async def _mark_filled(self) -> None:
        outcome = await self._store.mark_filled(self._number, self._epoch)
        self._filled = self._is_written(outcome)

    async def _remove(self, table: TrackedRows) -> None:
        gone = len(table.evicted)
        # An entity that has come back since has a row again, which is dirty.
        keys = [table.plan.row_key(entity) for entity in table.evicted if table.row(entity) is None]
        try:
            outcome = await self._store.remove(self._number, self._epoch, keys)
        except BaseException:
            self._fence_late_calls()
            raise
        # Until they are removed they are in each snapshot: a shard that takes over removes them. A
        # store that has lost the claim may still hold the rows, which expire later than it.
        if self._is_written(outcome):
            del table.evicted[:gone]

    def _fence_late_calls(self) -> None:
        """Have the store refuse what was sent and not answered: it may come after later calls.

        It would bring back the row of an entity that was deleted meanwhile, for as long as the
        store keeps rows that are not refreshed, or an older state of a changed row.
        """
        self._epoch += 1
        if self.state is not WriterState.UNCLAIMED:
            self._happen(WriterEvent.LOST)

    def _is_written(self, outcome: WriteOutcome) -> bool:
        if outcome is WriteOutcome.FENCED:
            raise ProgressError(
                f"partition {self._partition.partition} has a newer owner than epoch {self._epoch}"
            )
        if outcome is WriteOutcome.LOST:
            self._happen(WriterEvent.LOST)
        return outcome is WriteOutcome.WRITTEN

    def _happen(self, event: WriterEvent) -> None:
        self.state = next_state(TRANSITIONS, self.state, event)


class _RowKeys:
    """The online store's keys of a table's rows by slot, each made once."""

    def __init__(self, partition: PartitionState, table: TrackedRows) -> None:
        self._partition = partition
        self._table = table
        self._keys: list[bytes] = []
        """By slot; empty where not made yet."""
        self._evictions = table.evictions

    def of(self, slots: Ints) -> list[bytes]:
        table = self._table
        if self._evictions != table.evictions:
            self._evictions = table.evictions
            self._keys = []  # slots have new owners
        missing = int(slots.max(initial=-1)) + 1 - len(self._keys)
        if missing > 0:
            self._keys += [b""] * missing
        keys = [self._keys[slot] for slot in slots.tolist()]
        if b"" in keys:
            row_key = table.plan.row_key
            for place, entity in enumerate(table.entities(slots)):
                if not keys[place]:
                    keys[place] = self._keys[slots[place]] = row_key(entity)
        return keys
