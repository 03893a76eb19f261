"""Keeps the candidates of a replica up to date: from the catalogue's topic and the online store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.backoff import Backoff
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import Unavailable
from freshrank.actors.messages import Ints
from freshrank.actors.protocols import EventSource, JsonValue
from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex
from freshrank.feature_actors.retrieval.plan import RetrievalPlan
from freshrank.feature_actors.streams.table_codec import TableCodec, TableRecords

# Records of a poll: the event loop that decodes them also scores, and this takes about a
# millisecond.
_POLL_RECORDS = 200
# Seconds that a poll waits for records.
_POLL_S = 0.05
# Items whose rows are read at once.
_CHUNK = 500
# Seconds after which a read of the store has failed: nobody waits for it.
_READ_TIMEOUT_S = 2.0
# Seconds between two tries while something is away.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
# Seconds between two passes over a small catalogue, and between two makings of an index.
_PASS_S, _REBUILD_S = 0.25, 0.25
# Making the index of one source may take this share of the time: few of them take long.
_REBUILD_SHARE = 0.05
# With more items, the indexes are made in a thread of their own.
_MOST_INLINE = 2_000


@dataclass(frozen=True, slots=True)
class RetrievalSettings:
    """How much a replica keeps, and how often it reads it."""

    most_items: int
    """Items of the catalogue that are kept."""
    rows_per_s: int
    """Rows of items that are read from the online store in a second, for the sources."""


class CatalogueFollower(CandidateIndex):
    """Retrieves candidates, and follows what they depend on (a `Retriever`).

    The catalogue's topic is read from its first record, and then as it grows. The rows of the items
    are read from the online store one part after the other, again and again, so that what sources
    make of them is as old as a pass takes: items divided by `rows_per_s`.
    """

    def __init__(
        self,
        plan: RetrievalPlan,
        settings: RetrievalSettings,
        connectors: Connectors,
        alerts: AlertSink | None = None,
    ) -> None:
        super().__init__(plan, settings.most_items)
        self._connectors = connectors
        self._clock = connectors.clock
        self._alerts = alerts
        self._topic = _CatalogueTopic(plan, connectors)
        self._rows = _ItemRows(self, settings.rows_per_s, connectors)
        self._due_s = dict.fromkeys(self.sources, -math.inf)
        """By source, when its index may be made again."""
        self._took_s = dict.fromkeys(self.sources, 0.0)
        """By source, how long that took last."""
        self._rebuild_s = 0.0
        self._made = False
        """Whether the indexes have been made of all items."""
        self._told_refused = False

    async def run(self) -> None:
        """Follow until cancelled."""
        try:
            while True:
                await self.step()
        finally:
            await self._topic.stop()

    async def step(self) -> None:
        """Take what is due: records of the catalogue, rows of items, new indexes."""
        for records in await self._topic.poll(0.0 if self._rows.due else _POLL_S):
            self.take_records(records)
        self._tell_refused()
        if self._topic.complete:
            await self._rows.step()
        if self._rows.passes or self._rows.error:  # before, they would be of a part
            await self._make_indexes()
            self._made = self._rows.passes > 0

    def not_ready(self) -> str | None:
        """What the catalogue still lacks; None: nothing."""
        reason = self._topic.not_read()
        if reason is None and not self._rows.passes:
            reason = self._rows.error or "the rows of its items have not been read yet"
        if reason is None and not self._made:
            reason = "the indexes of its sources have not been made yet"
        return reason

    def status(self) -> Mapping[str, JsonValue]:
        """The metrics of catalogue and sources."""
        return {
            "items": len(self.catalogue),
            "items_refused": len(self.catalogue.refused),
            "records_rejected": self._topic.rejected,
            "lag_records": self._topic.lag,
            "pass_s": self._rows.pass_s,
            "rebuild_s": self._rebuild_s,
            "topic_error": self._topic.error,
            "rows_error": self._rows.error,
            # A list: no metric for each of the pipeline's names.
            "touched_next": [
                {"source": name, "share": share} for name, share in self.hits.shares().items()
            ],
        }

    async def _make_indexes(self) -> None:
        now = self._clock.monotonic()
        due = [name for name in self.sources if name in self.stale and now >= self._due_s[name]]
        if not due:
            return
        if len(self.catalogue) > _MOST_INLINE:
            await asyncio.to_thread(self._make, due)
        else:
            self._make(due)
        self._rebuild_s = self._clock.monotonic() - now

    def _make(self, sources: Sequence[str]) -> None:
        """Make their indexes, and say when again: one that takes long waits by itself."""
        for name in sources:
            begun = self._clock.monotonic()
            self.rebuild([name])
            ended = self._clock.monotonic()
            # The first time, or after many changes, one that is mostly quick takes long once.
            usual = min(ended - begun, self._took_s[name])
            self._took_s[name] = ended - begun
            self._due_s[name] = ended + max(_REBUILD_S, usual / _REBUILD_SHARE)

    def _tell_refused(self) -> None:
        refused = len(self.catalogue.refused)
        if refused and not self._told_refused and self._alerts is not None:
            self._alerts.emit(
                AlertKind.CATALOGUE_FULL,
                Severity.ERROR,
                f"{len(self.catalogue):,} items are as many as a replica keeps: {refused:,} cannot "
                "be recommended. Raise serve.most_items.",
                {"refused": refused},
            )
        self._told_refused = refused > 0


class _CatalogueTopic:
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


class _ItemRows:
    """Reads the rows of all items, one part after the other."""

    def __init__(self, index: CandidateIndex, rows_per_s: int, connectors: Connectors) -> None:
        self._index = index
        self._rows_per_s = rows_per_s
        self._store = connectors.store
        self._clock = connectors.clock
        self._pauses = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._left = np.zeros(0, dtype=np.int64)
        """int64[.]: slots that are left of this pass."""
        self._begun_s = 0.0
        self._next_s = -math.inf
        self.passes = 0
        """How often all rows have been read."""
        self.pass_s = 0.0
        """How long the last pass took."""
        self.error: str | None = None

    @property
    def due(self) -> bool:
        """Whether rows are to be read now."""
        return self._clock.monotonic() >= self._next_s

    async def step(self) -> None:
        """Read the next part, if it is due."""
        if not self.due:
            return
        if not len(self._left):
            self._begun_s = self._clock.monotonic()
            self._left = np.flatnonzero(self._index.catalogue.alive)
        slots, rest = self._left[:_CHUNK], self._left[_CHUNK:]
        if self._index.tables and len(slots) and not await self._read(slots):
            self._next_s = self._clock.monotonic() + self._pauses.next_s()
            return
        self._left = rest
        now_s = self._clock.monotonic()
        # The first pass is as fast as it can be: the replica waits for it.
        self._next_s = now_s + (len(slots) / self._rows_per_s if self.passes else 0.0)
        if not len(rest):
            self.passes += 1
            self.pass_s = now_s - self._begun_s
            self._next_s = max(self._next_s, self._begun_s + _PASS_S)

    async def _read(self, slots: Ints) -> bool:
        """Read the rows of the items in `slots`. Returns whether the store has answered."""
        tables = self._index.tables
        names = [self._index.catalogue.names[slot] for slot in slots.tolist()]
        keys = [key for table in tables for key in table.row_keys(names)]
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                rows = (await self._store.read(keys)).rows
            parts = {
                table.name: rows[place * len(slots) : (place + 1) * len(slots)]
                for place, table in enumerate(tables)
            }
            self._index.take_rows(slots, parts, self._clock.now_ms())
        except (Unavailable, TimeoutError) as error:
            self.error = str(error) or f"no answer in {_READ_TIMEOUT_S} s"
            return False
        self.error = None
        self._pauses.reset()
        return True
