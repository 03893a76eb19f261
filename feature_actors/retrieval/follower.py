"""Keeps the candidates of a replica up to date: from the catalogue's topic and the online store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from freshrank.actors.alerts import AlertKind, AlertSink, Severity
from freshrank.actors.connectors import Connectors
from freshrank.actors.protocols import JsonValue
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex
from freshrank.feature_actors.retrieval.followed.catalogue_topic import CatalogueTopic
from freshrank.feature_actors.retrieval.followed.item_rows import ItemRows
from freshrank.feature_actors.retrieval.plan import RetrievalPlan

# Seconds that a poll waits for records.
_POLL_S = 0.05
# Seconds between two makings of an index.
_REBUILD_S = 0.25
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
        self._topic = CatalogueTopic(plan, connectors)
        self._rows = ItemRows(self, settings.rows_per_s, connectors)
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
