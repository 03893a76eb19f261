"""What came of the lists of one partition, by the labels that the learner learned.

The records of a partition go through the same sources and the same joiner as in a shard, so that a
click counts here if and only if it was learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from freshrank.actors.errors import BadRecord
from freshrank.actors.impressions import decode_impression, served_draws
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.records import RecordBatch
from freshrank.deploy.experiments.off_policy import Weighed, weighed
from freshrank.deploy.experiments.tally import ExperimentTally
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.labels.examples import LabelledRows, place_of
from freshrank.feature_actors.labels.joiner import MAX_DELAY_MS, Joiner
from freshrank.feature_actors.partition.backpressure import MAX_LABEL_EVENTS, MAX_PENDING_ITEMS
from freshrank.feature_actors.partition.impression_source import ImpressionSource
from freshrank.feature_actors.partition.labelling import label_by_join
from freshrank.feature_actors.partition.outcome import Counters, Outcome
from freshrank.feature_actors.partition.partition import Source
from freshrank.feature_actors.partition.placement import Placement
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.partition.stream_source import StreamSource

# Lists that are kept until their time is over: more than can wait for clicks at once.
_MOST_SERVED = 500_000


@dataclass(slots=True)
class _Served:
    """A list whose items may be clicked still."""

    user: int
    at_ms: int
    arms: Mapping[str, str]
    """By experiment."""
    weighed: Weighed | None
    counted: bool = False
    """Whether it was counted as shown."""


class PartitionOutcomes:
    """Takes the records of a partition, and counts lists and clicks in `tallies`, by experiment."""

    def __init__(
        self,
        pipeline: Pipeline,
        spec: PartitionSpec,
        partition: int,
        partitions: int,
        tallies: Mapping[str, ExperimentTally],
        positions: int,
    ) -> None:
        label, layout = pipeline.joined, spec.encoder.layout
        assert label is not None  # experiments need it
        self._tallies, self._positions = tallies, positions
        self._delay_ms = label.delay_ms + MAX_DELAY_MS
        self._joiner = Joiner(label.within_ms, label.grace_ms, len(layout.dense), layout.id_width)
        self._counters = Counters()
        plan, joiner = spec.plan.tables[0], self._joiner
        placement = Placement(spec.stream.placed_by, partition, partitions)
        self.events, self.impressions = pipeline.stream.log_topic, pipeline.impressions_topic
        self._sources: dict[str, Source] = {
            self.events: StreamSource(
                plan,
                spec,
                self._counters,
                placement,
                label_by_join(label, joiner, plan.source.key.key),
            ),
            self.impressions: ImpressionSource(spec.encoder, joiner, self._counters, placement),
        }
        self._served: dict[int, _Served] = {}
        """By the offset of the impression."""
        self._at = dict.fromkeys(self._sources, 0)
        self.rejected = 0

    @property
    def shown(self) -> int:
        """Impressions that can be used."""
        return self._counters.impressions

    @property
    def waiting(self) -> int:
        """Shown items that may be clicked still."""
        return self._joiner.pending

    def waits(self, topic: str) -> bool:
        """Whether the other topic is to be read first, to bound memory."""
        if self._joiner.pending >= MAX_PENDING_ITEMS:
            return topic == self.impressions
        return topic == self.events and self._joiner.labels >= MAX_LABEL_EVENTS

    def take(self, batch: RecordBatch) -> None:
        """Take the records of one of both topics, in the order of their offsets."""
        if not batch.values:
            return
        begin, end = self._at[batch.topic], int(batch.offsets[-1]) + 1
        outcome = Outcome()
        if batch.topic == self.impressions:
            self._note(batch)
        for rows in self._sources[batch.topic].take(batch, begin, end, outcome):
            self._count(rows)
        if batch.topic == self.impressions:
            self.rejected += len(outcome.dead)
        self._at[batch.topic] = end
        self._forget()

    def no_more_events(self, at_ms: int) -> None:
        """All events up to the log's time `at_ms` have been taken: nothing waits for earlier ones.

        Without it, items would wait for ever in a log whose events have ended.
        """
        clock_ms, none = np.array([at_ms], dtype=np.int64), np.zeros(0, dtype=np.int64)
        self._count(self._joiner.happen(clock_ms, none, none))
        self._forget()

    def _note(self, batch: RecordBatch) -> None:
        for offset, value in zip(batch.offsets.tolist(), batch.values, strict=True):
            served = None if value is None else self._read(value)
            if served is not None:
                self._served[offset] = served

    def _read(self, value: bytes) -> _Served | None:
        try:
            one = decode_impression(value)
            arms = {name: arm for name, arm in one.arms.items() if name in self._tallies}
            if not arms:
                return None
            draws, scores = served_draws(one), np.frombuffer(one.scores, dtype="<f4")
        except (BadRecord, ValueError):  # the impression's source rejects and counts it
            return None
        found = None
        if draws is not None and len(draws.greedy) == len(scores) > 0:
            found = weighed(draws, scores, self._positions)
        return _Served(hash_text(one.entity), one.at_ms, arms, found)

    def _count(self, rows: LabelledRows) -> None:
        offsets, ranks = place_of(rows.order)
        positive = rows.labels > 0.5
        shown = np.flatnonzero(~positive)
        found, counts = np.unique(offsets[shown], return_counts=True)
        for offset, items in zip(found.tolist(), counts.tolist(), strict=True):
            self._show(offset, items)
        clicked = np.flatnonzero(positive)
        for offset, rank in zip(offsets[clicked].tolist(), ranks[clicked].tolist(), strict=True):
            self._click(offset, rank)

    def _show(self, offset: int, items: int) -> None:
        served = self._served.get(offset)
        if served is None or served.counted:
            return
        served.counted = True
        served.arms = {
            name: arm
            for name, arm in served.arms.items()
            if self._tallies[name].show(served.user, arm, items, self._of(name, arm, served))
        }

    def _click(self, offset: int, rank: int) -> None:
        served = self._served.get(offset)
        if served is None:
            return
        for name, arm in served.arms.items():
            self._tallies[name].click(served.user, arm, rank, self._of(name, arm, served))

    def _of(self, name: str, arm: str, served: _Served) -> Weighed | None:
        """The weights of a list, for the arm that explores: of another experiment's, none."""
        return served.weighed if self._tallies[name].explores(arm) else None

    def _forget(self) -> None:
        before_ms = self._joiner.watermark_ms - self._delay_ms
        old = list[int]()
        for offset, served in self._served.items():  # in the order of the log
            if served.at_ms >= before_ms:
                break
            old.append(offset)
        beyond = len(self._served) - len(old) - _MOST_SERVED
        if beyond > 0:  # the time of the first is wrong
            old = list(self._served)[: len(old) + beyond]
        for offset in old:
            del self._served[offset]
