"""Writes changed rows to the online store while the next batches are processed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from freshrank.actors.backoff import Backoff
from freshrank.actors.clock import Clock
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Ints
from freshrank.actors.metrics.latency_histogram import RecentLatencies
from freshrank.actors.protocols import OnlineStore
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.shard.partition_writer import PartitionWriter, WriterState

# After a flush the writer rests as long as the flush took, at most so many seconds: an idle
# store gets each row at once, a busy one gets each row less often.
LONGEST_REST_S = 0.1
# Seconds between tries while the store is away: the first, and the longest after doubling.
FIRST_RETRY_S, LAST_RETRY_S = 0.05, 2.0


class OnlineWriter:
    """Writes what is dirty in `states`: one flush is under way while the next one collects.

    Parameters
    ----------
    epoch
        Of this shard's start: the store refuses writers with a lower one from then on.
    """

    def __init__(
        self, states: Mapping[int, PartitionState], store: OnlineStore, epoch: int, clock: Clock
    ) -> None:
        self._writers = {
            partition: PartitionWriter(state, store, epoch) for partition, state in states.items()
        }
        self._clock = clock
        self._woken = asyncio.Event()
        self.freshness = RecentLatencies()
        """From an event's time to its row in the store, in milliseconds."""
        self.rows_written = 0
        self.error: str | None = None
        """Why the store cannot be written to at present."""

    def wake(self) -> None:
        """Rows may have changed."""
        self._woken.set()

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
                await self.flush()
                away.reset()
                took_s = self._clock.monotonic() - begun
                await self._clock.sleep(min(took_s, LONGEST_REST_S))
            except Unavailable as error:
                self.error = str(error)
                self._woken.set()
                await self._clock.sleep(away.next_s())

    async def flush(self) -> None:
        """Write all that is dirty now. Raises Unavailable; what was not written stays dirty."""
        for writer in self._writers.values():
            await writer.flush(self._note)
            if writer.state is WriterState.UNCLAIMED:
                self._woken.set()
        self.error = None

    async def confirm(self) -> None:
        """Claim again what is claimed: a store that was emptied gets all rows, traffic or not.

        Raises Unavailable, and ProgressError when a newer writer has claimed.
        """
        for writer in self._writers.values():
            if writer.state is not WriterState.UNCLAIMED:
                await writer.claim()
                if writer.waiting:
                    self._woken.set()

    def _note(self, event_times_ms: Ints) -> None:
        """Rows with these newest event times are in the store."""
        self.rows_written += len(event_times_ms)
        age_ms = self._clock.now_ms() - event_times_ms
        self.freshness.add(age_ms, self._clock.monotonic())
