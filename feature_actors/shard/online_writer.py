"""Changed rows on their way to the online store, while the next batch is being processed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import ProgressError, Unavailable
from freshrank.actors.latency_histogram import RecentLatencies
from freshrank.actors.messages import Ints
from freshrank.actors.protocols import OnlineStore, WriteOutcome
from freshrank.feature_actors.partition.partition import PartitionState

# Rows copied and sent at once: what the table is read for stays below 2 MB, and a partition
# does not wait long behind another.
MOST_ROWS = 2000
# After a flush the writer rests as long as the flush took, at most so many seconds: an idle
# store gets each row at once, a busy one gets each row less often.
LONGEST_REST_S = 0.1
# Seconds between tries while the store is away: the first, and the longest after doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0


@dataclass(slots=True)
class _Lane:
    """What the writer knows of one partition."""

    state: PartitionState
    claimed: bool = False
    silent_until: int = 0
    """The store may hold rows with events below this offset: older rows would be a step back."""
    keys: list[bytes] = field(default_factory=list)
    """By slot; empty where not known yet."""
    keys_evicted: int = 0
    on_their_way: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def silent(self) -> bool:
        return self.claimed and self.state.event_offset < self.silent_until

    def row_keys(self, slots: Ints) -> list[bytes]:
        state = self.state
        if self.keys_evicted != state.counters.evicted:
            self.keys_evicted = state.counters.evicted
            self.keys = []  # slots have new owners
        missing = int(slots.max()) + 1 - len(self.keys)
        if missing > 0:
            self.keys += [b""] * missing
        keys = [self.keys[slot] for slot in slots.tolist()]
        if b"" in keys:
            for place, name in enumerate(state.table.entities(slots)):
                if not keys[place]:
                    keys[place] = self.keys[slots[place]] = state.spec.row_key(name)
        return keys


class OnlineWriter:
    """Writes what is dirty in `states`: one flush under way, the next collects meanwhile.

    Parameters
    ----------
    epoch
        Of this shard's start: writers with a lower one are fenced off.
    """

    def __init__(
        self, states: Mapping[int, PartitionState], store: OnlineStore, epoch: int, clock: Clock
    ) -> None:
        self._lanes = {one: _Lane(state) for one, state in states.items()}
        self._store = store
        self._epoch = epoch
        self._clock = clock
        self._woken = asyncio.Event()
        self.freshness = RecentLatencies()
        """From an event's time to its row in the store, in milliseconds."""
        self.rows_written = 0
        self.trouble: str | None = None
        """Why the store cannot be written to at present."""

    def wake(self) -> None:
        """Rows may have changed."""
        self._woken.set()

    @property
    def waiting(self) -> int:
        """Rows that are dirty or on their way."""
        lanes = self._lanes.values()
        return sum(len(lane.state.dirty) + len(lane.on_their_way) for lane in lanes)

    @property
    def silent(self) -> list[int]:
        """Partitions whose replay has not reached what the store was last told."""
        return [one for one, lane in self._lanes.items() if lane.silent]

    def on_their_way(self, partition: int) -> Ints:
        """int64[m]: the slots whose rows were sent and not confirmed."""
        return self._lanes[partition].on_their_way

    async def run(self) -> None:
        """Flush whenever woken, for ever. Raises ProgressError when fenced off."""
        away = Backoff(FIRST_RETRY_S, LAST_RETRY_S)
        while True:
            await self._woken.wait()
            self._woken.clear()
            begun = self._clock.monotonic()
            try:
                await self.flush()
                away.reset()
                took_s = self._clock.monotonic() - begun
                await self._clock.sleep(min(took_s, LONGEST_REST_S))
            except Unavailable as error:
                self.trouble = str(error)
                self._woken.set()
                await self._clock.sleep(away.next_s())

    async def flush(self) -> None:
        """Write all that is dirty now. Raises Unavailable (what was not written stays dirty)."""
        for lane in self._lanes.values():
            if not lane.claimed:
                await self._claim(lane)
            if lane.silent:
                continue
            if lane.state.evicted:
                await self._remove(lane)
            left = len(lane.state.dirty)
            while left > 0 and lane.claimed:
                slots = lane.state.dirty.take(min(left, MOST_ROWS))
                left -= len(slots)
                await self._write(lane, slots)
        self.trouble = None

    async def confirm(self) -> None:
        """Claim again what is claimed: a store that was emptied gets all rows, traffic or not.

        Raises Unavailable, and ProgressError when fenced off.
        """
        for lane in self._lanes.values():
            if lane.claimed:
                await self._claim(lane)
                if len(lane.state.dirty):
                    self._woken.set()

    async def _claim(self, lane: _Lane) -> None:
        position = await self._store.claim(lane.state.partition, self._epoch)
        lane.claimed = True
        if position is None:
            lane.state.mark_all()  # the store is new, or was emptied
        lane.silent_until = position or 0

    async def _write(self, lane: _Lane, slots: Ints) -> None:
        state = lane.state
        keys, rows = lane.row_keys(slots), state.table.rows(slots)
        event_times_ms = rows.view(np.int64)[:, 0].copy()
        lane.on_their_way = slots
        try:
            outcome = await self._store.write(
                state.partition, self._epoch, state.event_offset, keys, rows.data.cast("B")
            )
        except BaseException:
            state.dirty.mark(slots)
            raise
        finally:
            lane.on_their_way = slots[:0]
        if self._check(lane, outcome):
            self.rows_written += len(slots)
            age_ms = self._clock.now_ms() - event_times_ms
            self.freshness.add(age_ms, self._clock.monotonic())
        else:
            state.dirty.mark(slots)

    async def _remove(self, lane: _Lane) -> None:
        state = lane.state
        gone, state.evicted = state.evicted, []
        # Who has come back since has a row again, which is dirty.
        keys = [state.spec.row_key(one) for one in gone if state.table.row(one) is None]
        try:
            outcome = await self._store.remove(state.partition, self._epoch, keys)
        except BaseException:
            state.evicted = gone + state.evicted
            raise
        self._check(lane, outcome)  # lost: then they are gone anyway

    def _check(self, lane: _Lane, outcome: WriteOutcome) -> bool:
        if outcome is WriteOutcome.FENCED:
            raise ProgressError(
                f"partition {lane.state.partition} has a newer owner than epoch {self._epoch}"
            )
        if outcome is WriteOutcome.LOST:
            lane.claimed = False
            self._woken.set()
        return outcome is WriteOutcome.WRITTEN
