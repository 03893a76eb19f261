"""Snapshots of a shard's partitions, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshrank.actors.alerts import AlertKind, Alerts, AlertSink, Severity, tell_passed_over
from freshrank.actors.clock import Clock
from freshrank.actors.errors import SnapshotError
from freshrank.actors.messages import Ints, SourceOffsets
from freshrank.actors.protocols import JsonValue
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.recovery import snapshot_name
from freshrank.feature_actors.partition.snapshot import Snapshot
from freshrank.feature_actors.state.table_copy import RowMemory

# Bytes of rows copied at once between two batches: two milliseconds where memory is new.
SLICE_BYTES = 1 << 20

# Snapshots in a row without an entity that was forgotten, after which no file has it: of each
# partition the newest three are kept.
_REWRITES = 3

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _KeptSnapshot:
    due: float
    at: float | None = None
    size: int = 0
    offsets: SourceOffsets | None = None
    error: str | None = None
    """Why the last snapshot could not be written."""
    forgotten: int = 0
    """Tombstones of entities that the state had taken when it was looked at last."""
    rewrites: int = 0
    """Snapshots to write though nothing is read: older files have entities that are forgotten."""

    def look(self, state: PartitionState) -> None:
        """Note tombstones that were taken since the last look."""
        counters = state.counters
        forgotten = counters.forgotten + counters.forgotten_unknown
        if forgotten != self.forgotten:
            self.forgotten, self.rewrites = forgotten, _REWRITES


class Snapshotter:
    """Decides when a partition's snapshot is due, and writes it.

    Parameters
    ----------
    interval_s
        Between two snapshots of a partition; those of different partitions are spread over it.
    alerts
        Told when a file cannot be written; None: to the log alone.
    threaded
        Whether the state is copied little by little while the next batches are processed, and the
        file written in another thread; else all of it is done at once.
    """

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        snapshots: SnapshotStore,
        clock: Clock,
        interval_s: float,
        *,
        threaded: bool,
        alerts: AlertSink | None = None,
    ) -> None:
        self._alerts = alerts or Alerts("shard", clock)
        self._states = states
        self._snapshots = snapshots
        self._clock = clock
        self._interval_s = interval_s
        self._threaded = threaded
        begun = clock.monotonic()
        self._kept = {
            partition: _KeptSnapshot(begun + interval_s * (rank + 1) / len(states))
            for rank, partition in enumerate(states)
        }
        self._saving: asyncio.Task[None] | None = None
        plans = next(iter(states.values())).spec.plan.row_plans
        self._memory = {plan.name: RowMemory(plan.row_words) for plan in plans}
        self._reserve()
        self.passed_over: Sequence[str] = ()
        """Snapshots that could not be loaded at the start, and why."""
        self.carried_over: Sequence[str] = ()
        """What was kept, added and dropped at the start, where snapshots were of other
        definitions."""

    def start_after(self, passed_over: Sequence[str]) -> None:
        """Keep `passed_over`, and tell of it."""
        self.passed_over = passed_over
        tell_passed_over(self._alerts, passed_over)

    async def save_carried_over(self) -> None:
        """Write the states that come from files of other definitions, and tell of them.

        Before anything is read: so what is new begins at the same offsets whoever crashes then.
        """
        found: dict[str, list[int]] = {}
        for partition, state in self._states.items():
            if state.changes is not None:
                found.setdefault("; ".join(state.changes), []).append(partition)
                await self._save(partition, state.snapshot(memory=self._memory))
        found.pop("", None)  # other inputs are of the same rows: the learner tells of them
        self.carried_over = list(found)
        for changes, partitions in found.items():
            what = f"the definitions have changed since the snapshots: {changes}"
            details: dict[str, JsonValue] = {"partitions": [*partitions]}
            self._alerts.emit(AlertKind.CARRIED_OVER, Severity.WARNING, what, details)

    @property
    def error(self) -> str | None:
        """Why the last snapshot of some partition could not be written; None while all could."""
        return next((kept.error for kept in self._kept.values() if kept.error), None)

    def due(self) -> int | None:
        """The partition whose snapshot is due, if none is being written."""
        if self._saving is not None:
            if not self._saving.done():
                return None
            self._saving.result()
        now = self._clock.monotonic()
        late = [partition for partition, kept in self._kept.items() if now >= kept.due]
        return min(late, key=lambda partition: self._kept[partition].due) if late else None

    async def begin(self, partition: int, under_way: Mapping[str, Ints]) -> None:
        """Take a snapshot of now, and have its file written; without threads it is there then.

        `under_way` has, by table, the slots whose rows were sent to the online store and are not
        confirmed. A state that has read nothing since its last snapshot is not written again,
        unless an older file may have an entity that was forgotten.
        """
        kept, state = self._kept[partition], self._states[partition]
        kept.look(state)
        kept.due = self._clock.monotonic() + self._interval_s
        if kept.offsets != state.offsets or kept.rewrites:
            # Entities whose rows the online store still has are in the file.
            clean = not any(table.evicted for table in state.row_tables)
            saving = self._save(partition, state.snapshot(under_way, self._memory), clean=clean)
            if self._threaded:
                self._saving = asyncio.create_task(saving)
            else:
                await saving

    async def settle(self) -> None:
        """Return when no snapshot is under way."""
        if self._saving is not None:
            await self._saving

    async def save_all(self) -> None:
        """Write a snapshot of every partition, and wait for it."""
        await self.settle()
        for partition, state in self._states.items():
            await self._save(partition, state.snapshot(memory=self._memory))

    def age_s(self) -> float | None:
        """Age of the oldest of the newest snapshots; None while one is missing."""
        times = [kept.at for kept in self._kept.values()]
        known = [at for at in times if at is not None]
        return self._clock.monotonic() - min(known) if known and len(known) == len(times) else None

    def passed_over_until_saved(self) -> str | None:
        """`passed_over` as an error, until there is a new snapshot of every partition."""
        return "; ".join(self.passed_over) or None if self.age_s() is None else None

    def size(self) -> int:
        """Bytes of the newest snapshots together."""
        return sum(kept.size for kept in self._kept.values())

    def _reserve(self) -> None:
        """Reserve memory for the largest partition."""
        for state in self._states.values():
            for table in state.row_tables:
                self._memory[table.plan.name].reserve(len(table))

    async def _save(self, partition: int, snapshot: Snapshot, *, clean: bool = False) -> None:
        most = SLICE_BYTES if self._threaded else None
        whole = snapshot.copy_rows(most)
        while not whole:
            await asyncio.sleep(0)  # the next batch goes on meanwhile
            whole = snapshot.copy_rows(most)

        def write() -> int:
            size = self._snapshots.save(snapshot_name(partition), snapshot.pieces())
            self._reserve()
            return size

        kept = self._kept[partition]
        try:
            kept.size = await asyncio.to_thread(write) if self._threaded else write()
        except SnapshotError as error:
            if self.error is None:
                what = f"{error}; the older ones stay, and it is tried again"
                self._alerts.emit(AlertKind.NOT_SAVED, Severity.ERROR, what)
            kept.error = str(error)
            return
        before, kept.error = self.error, None
        if before is not None and self.error is None:
            _log.warning("snapshots can be written again")
        kept.at, kept.offsets = self._clock.monotonic(), snapshot.offsets
        kept.rewrites -= clean and kept.rewrites > 0
