"""Writes changed rows to the online store while the next batches are processed."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import StoreFull, Unavailable
from freshrank.actors.messages import Ints
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.actors.protocols import OnlineStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.partition_writer import PartitionWriter, WriterState

# After a flush the writer rests as long as the flush took, at most so many seconds: an idle
# store gets each row at once, a busy store gets each row less often.
LONGEST_REST_S = 0.1
# So many rows are written of all partitions at once: an answer comes in between two steps of the
# shard, and a partition would else wait for the answers to all before it. More are written
# partition by partition, so that readers of the store wait for a single write at most.
FEW_ROWS = 10_000
# Seconds between two parts of a sweep: each takes some milliseconds of the store.
SWEEP_EVERY_S = 0.5
# Seconds without a removal after which the store counts as having room again.
CALM_S = 30.0
# Seconds between tries while the store is away: the first, and the longest after doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0


class OnlineWriter:
    """Writes what is dirty in `states`: one flush is under way while the next one collects.

    Parameters
    ----------
    epoch
        Of this shard's start: the store refuses writers of a lower epoch from then on.
    sweep_s
        Seconds in which each row is looked for in the store.
    """

    def __init__(
        self,
        states: Mapping[int, PartitionState],
        store: OnlineStore,
        epoch: int,
        clock: Clock,
        *,
        sweep_s: float = math.inf,
        alerts: AlertSink | None = None,
    ) -> None:
        self._writers = {
            partition: PartitionWriter(state, store, epoch, clock)
            for partition, state in states.items()
        }
        self._clock = clock
        self._woken = asyncio.Event()
        self.freshness = RecentLatencies()
        """From an event's time to its row in the store, in milliseconds; not of rows that are put
        back, or were made before this start."""
        self.rows_written = 0
        self.rows_restored = 0
        """Rows that were missing in the store, and are written again."""
        self._sweep_share = min(1.0, SWEEP_EVERY_S / sweep_s)
        self._memory = _StoreMemory(store, clock, alerts)
        self._away: str | None = None

    def wake(self) -> None:
        """Rows may have changed."""
        self._woken.set()

    @property
    def error(self) -> str | None:
        """Why rows cannot be written at present, or do not stay."""
        return self._away or self._memory.evicting

    @property
    def waiting(self) -> int:
        """Rows that are dirty, or sent and not confirmed."""
        return sum(writer.waiting for writer in self._writers.values())

    @property
    def catching_up(self) -> list[int]:
        """Partitions whose replay has not reached what was written to the store before."""
        return [
            partition
            for partition, writer in self._writers.items()
            if writer.state is WriterState.CATCHING_UP
        ]

    def under_way(self, partition: int) -> Mapping[str, Ints]:
        """By table, int64[m] slots whose rows were sent and are not confirmed."""
        return self._writers[partition].under_way

    async def run(self) -> None:
        """Flush whenever woken, for ever. Raises ProgressError when a newer writer has claimed."""
        away = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            await self._woken.wait()
            self._woken.clear()
            begun = self._clock.monotonic()
            try:
                await self._flush_at_once()
                away.reset()
                took_s = self._clock.monotonic() - begun
                await self._clock.sleep(min(took_s, LONGEST_REST_S))
            except Unavailable as error:
                self._away = str(error)
                self._memory.refused(error)
                self._woken.set()
                await self._clock.sleep(away.next_s())

    async def flush(self) -> None:
        """Write all that is dirty now, partition by partition.

        Raises Unavailable; what was not written stays dirty.
        """
        for writer in self._writers.values():
            await writer.flush(self._note)
        self._note_flushed()

    async def _flush_at_once(self) -> None:
        """The same, of all partitions at once where few rows wait."""
        if self.waiting > FEW_ROWS:
            await self.flush()
            return
        flushes = [writer.flush(self._note) for writer in self._writers.values()]
        for failed in await asyncio.gather(*flushes, return_exceptions=True):
            if failed is not None:
                raise failed
        self._note_flushed()

    def _note_flushed(self) -> None:
        if any(writer.state is WriterState.UNCLAIMED for writer in self._writers.values()):
            self._woken.set()
        self._away = None
        self._memory.took()

    async def sweep_forever(self) -> None:
        """Look for all rows in turn, for ever: those that the store has lost are written again."""
        while True:
            await self._clock.sleep(SWEEP_EVERY_S)
            with contextlib.suppress(Unavailable):  # `run` reports it; the next sweep finds the row
                await self.sweep(self._sweep_share)

    async def sweep(self, share: float = 1.0) -> None:
        """Look for the next `share` of the rows. Raises Unavailable."""
        for writer in self._writers.values():
            missing = await writer.sweep(share)
            self.rows_restored += missing
            if missing:
                self._woken.set()

    async def confirm(self) -> None:
        """Claim again what is claimed: a store that was emptied gets all rows, traffic or not.

        Raises Unavailable, and ProgressError when a newer writer has claimed.
        """
        for writer in self._writers.values():
            if writer.state is not WriterState.UNCLAIMED:
                await writer.claim()
                if writer.waiting:
                    self._woken.set()
        await self._memory.look()

    def _note(self, rows: int, event_times_ms: Ints) -> None:
        """So many rows are in the store, those of events with these newest times among them."""
        self.rows_written += rows
        age_ms = self._clock.now_ms() - event_times_ms
        self.freshness.add(age_ms, self._clock.monotonic())


class _StoreMemory:
    """Whether the store has room; sends an alert when it refuses rows or removes some for room."""

    def __init__(self, store: OnlineStore, clock: Clock, alerts: AlertSink | None) -> None:
        self._store = store
        self._clock = clock
        self._alerts = alerts
        self._full = False
        self._evicted: int | None = None
        self._evicted_at = 0.0
        self.evicting: str | None = None
        """Which rows are removed at present, and the fix."""

    def refused(self, error: Unavailable) -> None:
        """A write has failed."""
        if isinstance(error, StoreFull) and not self._full:
            self._full = True
            self._tell(str(error))

    def took(self) -> None:
        """A write has succeeded."""
        self._full = False

    async def look(self) -> None:
        """Ask the store what it has removed since. Raises Unavailable."""
        now, evicted = self._clock.monotonic(), await self._store.evicted()
        before, self._evicted = self._evicted, evicted
        if before is not None and evicted > before:
            self._evicted_at = now
            if self.evicting is None:
                self.evicting = (
                    f"redis: it removes rows to make room ({evicted - before} in a moment): give "
                    "it more memory, and set maxmemory-policy noeviction"
                )
                self._tell(self.evicting)
        elif now - self._evicted_at >= CALM_S:
            self.evicting = None

    def _tell(self, message: str) -> None:
        if self._alerts is not None:
            self._alerts.emit(AlertKind.STORE_FULL, Severity.ERROR, message)
