"""Snapshots of a shard's partitions, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from freshrank.actors.clock import Clock
from freshrank.actors.errors import SnapshotError
from freshrank.actors.messages import Cut
from freshrank.actors.protocols import SnapshotStore
from freshrank.feature_actors.partition import PartitionState, Snapshot
from freshrank.feature_actors.recovery import snapshot_name


@dataclass(slots=True)
class _Kept:
    due: float
    at: float | None = None
    size: int = 0
    cut: Cut | None = None


class Saver:
    """Decides when a partition's snapshot is due, and writes it.

    Parameters
    ----------
    interval_s
        Between two snapshots of a partition; those of different partitions are spread over it.
    threaded
        Whether files are packed and written in another thread (the copy of the state never is).
    """

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        snapshots: SnapshotStore,
        clock: Clock,
        interval_s: float,
        *,
        threaded: bool,
    ) -> None:
        self._states = states
        self._snapshots = snapshots
        self._clock = clock
        self._interval_s = interval_s
        self._threaded = threaded
        begun = clock.monotonic()
        self._kept = {
            partition: _Kept(begun + interval_s * (rank + 1) / len(states))
            for rank, partition in enumerate(states)
        }
        self._saving: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        """Why the last snapshot could not be written."""

    def due(self) -> int | None:
        """The partition whose snapshot is due, if none is being written."""
        if self._saving is not None:
            if not self._saving.done():
                return None
            self._saving.result()
        now = self._clock.monotonic()
        late = [one for one, kept in self._kept.items() if now >= kept.due]
        return min(late, key=lambda one: self._kept[one].due) if late else None

    async def begin(self, partition: int, unwritten: list[str]) -> None:
        """Copy the state now, and have the file written; without threads it is there then.

        `unwritten` names entities whose rows are on their way to the online store. A state that
        has read nothing since its last snapshot is not written again.
        """
        kept, state = self._kept[partition], self._states[partition]
        kept.due = self._clock.monotonic() + self._interval_s
        if kept.cut != state.cut:
            writing = self._write(partition, state.snapshot(unwritten), state.cut)
            if self._threaded:
                self._saving = asyncio.create_task(writing)
            else:
                await writing

    async def save_all(self) -> None:
        """Write a snapshot of every partition, and wait for it."""
        if self._saving is not None:
            await self._saving
        for partition, state in self._states.items():
            await self._write(partition, state.snapshot(), state.cut)

    def age_s(self) -> float | None:
        """Age of the oldest of the newest snapshots; None while one is missing."""
        times = [kept.at for kept in self._kept.values()]
        known = [at for at in times if at is not None]
        return self._clock.monotonic() - min(known) if known and len(known) == len(times) else None

    def size(self) -> int:
        """Bytes of the newest snapshots together."""
        return sum(kept.size for kept in self._kept.values())

    async def _write(self, partition: int, snapshot: Snapshot, cut: Cut) -> None:
        state = self._states[partition]

        def write() -> int:
            payload = state.pack(snapshot)
            self._snapshots.save(snapshot_name(partition), payload)
            return len(payload)

        kept = self._kept[partition]
        try:
            kept.size = await asyncio.to_thread(write) if self._threaded else write()
        except SnapshotError as error:
            self.trouble = str(error)
            return
        self.trouble, kept.at, kept.cut = None, self._clock.monotonic(), cut
