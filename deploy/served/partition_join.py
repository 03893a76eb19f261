"""The impressions of one partition, joined with its events as a shard joins them.

The records go through the same sources and the same joiner as in a shard, so that an item is
positive here if and only if the learner learns it as that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.records import RecordBatch
from freshrank.deploy.history.arrivals import DeadReasons
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.labels.examples import LabelledRows
from freshrank.feature_actors.labels.forgettings import NEVER_MS
from freshrank.feature_actors.labels.joiner import Joiner
from freshrank.feature_actors.labels.pair_pool import LONG_AGO_MS
from freshrank.feature_actors.partition.arrival.impression_decoder import ImpressionDecoder
from freshrank.feature_actors.partition.backpressure import MAX_LABEL_EVENTS, MAX_PENDING_ITEMS
from freshrank.feature_actors.partition.impression_source import ImpressionSource
from freshrank.feature_actors.partition.labelling import label_by_join
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.partition import Source
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.partition.stream_source import StreamSource


class JoinedRows(Protocol):
    """Takes what the join of a partition gives."""

    def note(self, batch: RecordBatch) -> None:
        """Take impressions that are joined next, whether they can be used or not."""

    def take(self, rows: LabelledRows) -> None:
        """Take items: negative as they are shown, and once more when they become positive."""

    def reached(self, final_ms: int) -> None:
        """What was given of items that were shown before `final_ms` is final."""


class PartitionJoin:
    """Takes the records of one partition, each topic's in the order of their offsets.

    `rows` makes what takes the rows of the join.

    Raises ValueError for a pipeline whose label is not `Joined`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        spec: PartitionSpec,
        placement: Placement,
        layouts: Mapping[str, KeptLayout],
        rows: Callable[[PartitionJoin], JoinedRows],
    ) -> None:
        label, layout = pipeline.joined, spec.encoder.layout
        if label is None:
            raise ValueError("a pipeline without impressions")
        self._wait_ms = label.within_ms + label.grace_ms
        # Of each item by itself: of a listwise label, too, a row has a label of its own.
        widths = len(layout.dense), layout.id_width
        self.joiner = Joiner(label.within_ms, label.grace_ms, widths)
        self.counters = Counters()
        self.forgotten: dict[int, int] = {}
        """By the hash of an entity: the log's time in ms of its last tombstone."""
        plan = spec.plan.tables[0]
        labels = label_by_join(label, self.joiner, plan.source.key.key)
        decoder = ImpressionDecoder(spec.encoder, layouts)
        self.events, self.impressions = pipeline.stream.log_topic, pipeline.impressions_topic
        self._sources: dict[str, Source] = {
            self.events: StreamSource(
                plan, spec, self.counters, placement, labels._replace(forget=self._forget)
            ),
            self.impressions: ImpressionSource(decoder, self.joiner, self.counters, placement),
        }
        self._at = dict.fromkeys(self._sources, 0)
        self._place = f"partition {placement.partition}, offset {{}}".format
        self.bad_events = DeadReasons()
        self.rejected = dict.fromkeys(self._sources, 0)
        """By topic: records that cannot be used, whatever the reason."""
        self.events_begin = 0
        """The offset of the oldest event that the topic holds."""
        self._oldest_event_ms: int | None = None
        self._rows = rows(self)

    @property
    def labels_since_ms(self) -> int:
        """Of items that were shown before, events that label them may have been deleted."""
        if not self.events_begin:
            return LONG_AGO_MS
        return NEVER_MS if self._oldest_event_ms is None else self._oldest_event_ms

    def waits(self, topic: str) -> bool:
        """Whether the other topic is to be read first, to bound memory."""
        if self.joiner.pending >= MAX_PENDING_ITEMS:
            return topic == self.impressions
        return topic == self.events and self.joiner.labels >= MAX_LABEL_EVENTS

    def take(self, batch: RecordBatch) -> None:
        """Take records of one of both topics."""
        if not batch.values:
            return
        begin, end = self._at[batch.topic], int(batch.offsets[-1]) + 1
        outcome = Outcome()
        if batch.topic == self.impressions:
            self._rows.note(batch)
        elif self._oldest_event_ms is None:
            self._oldest_event_ms = int(batch.timestamps_ms[0])
        for rows in self._sources[batch.topic].take(batch, begin, end, outcome):
            self._rows.take(rows)
        self.counters.count_dead(outcome.dead)
        self.rejected[batch.topic] += len(outcome.dead)
        if batch.topic == self.events:
            for dead in outcome.dead:
                self.bad_events.count(dead.reason, dead.offset, self._place)
        self._at[batch.topic] = end
        self._rows.reached(self.joiner.watermark_ms - self._wait_ms)

    def no_more_events(self, at_ms: int) -> None:
        """All events up to the log's time `at_ms` have been taken: nothing waits for earlier ones.

        Without it, items would wait for ever in a log whose events have ended.
        """
        clock_ms, none = np.array([at_ms], dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._rows.take(self.joiner.happen(clock_ms, none, none))
        self._rows.reached(self.joiner.watermark_ms - self._wait_ms)

    def _forget(self, entity: int, log_ms: int, clock_ms: int) -> LabelledRows:
        self.forgotten[entity] = max(log_ms, self.forgotten.get(entity, log_ms))
        return self.joiner.forget(entity, log_ms, clock_ms)
