"""Reads the topic of a catalogue."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from freshrank.actors.backoff import Backoff
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.protocols import EventSource
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords

# Records of a poll: the event loop that decodes them also scores, and this takes about a
# millisecond.
_POLL_RECORDS = 200
# Seconds between two tries while the broker is away.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class CatalogueTopic:
    """Reads the catalogue's topic, whatever becomes of the broker."""

    def __init__(self, plan: RetrievalPlan, connectors: Connectors) -> None:
        self._table = plan.items.table
        self._codec = TableCodec(self._table)
        self._connectors = connectors
        self._partitions = connectors.further_partitions[self._table.key.name]
        self._source: EventSource | None = None
        self._pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._retry_at = -math.inf
        self.complete = False
        """Whether all has been read that the topic held at the start."""
        self.lag = 0
        self.rejected = 0
        """Records that are no rows, or lie in a wrong partition: shards name them."""
        self.error: str | None = None

    def not_read(self) -> str | None:
        """What keeps the catalogue from being read; None once it has been."""
        if self.complete:
            return None
        return self.error or f"{self.lag:,} records of {self._table.topic!r} are left to read"

    async def poll(self, timeout_s: float) -> Sequence[TableRecords]:
        """The next records of each partition. While the broker is away there are none."""
        clock = self._connectors.clock
        if clock.monotonic() < self._retry_at:
            await clock.sleep(timeout_s)
            return []
        try:
            source = self._source or await self._open()
            batches = await source.poll(_POLL_RECORDS, timeout_s)
            source.take_deleted()  # a compacted topic: what counts of them has come later
            if not self.complete and not batches:
                self.lag = sum((await source.lag()).values())
                self.complete = self.lag == 0
        except Unavailable as error:
            self.error = str(error)
            self._retry_at = clock.monotonic() + self._pauses.next_s()
            return []
        self.error = None
        self._pauses.reset()
        return [self._decoded(batch) for batch in batches]

    async def stop(self) -> None:
        """Close the connection."""
        if self._source is not None:
            await self._source.stop()

    async def _open(self) -> EventSource:
        source = self._connectors.source()
        places = [(self._table.topic, partition) for partition in range(self._partitions)]
        try:
            await source.start(dict.fromkeys(places))
            self.lag = sum((await source.lag()).values())
        except BaseException:
            await source.stop()
            raise
        self._source = source
        return source

    def _decoded(self, batch: RecordBatch) -> TableRecords:
        records = self._codec.decode(batch)
        placement = Placement(
            self._table.placed_by, batch.partition, self._partitions, declared="Table"
        )
        wrong = [fault.place for fault in placement.faults(records.names)]
        self.rejected += len(records.rejected) + len(wrong)
        if not wrong:
            return records
        return records.take(np.delete(np.arange(len(records)), wrong))
