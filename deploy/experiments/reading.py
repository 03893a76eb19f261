"""Reads what was served and what users did, one partition after the other, to the ends of now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freshrank.actors.protocols import EventSource
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.experiments.intervals import CONFIDENCE
from freshrank.deploy.experiments.outcomes import PartitionOutcomes
from freshrank.deploy.experiments.report import PipelineReport, report_on
from freshrank.deploy.experiments.tally import ExperimentTally
from freshrank.deploy.pipelines.pipeline import Pipeline

_POLL_RECORDS = 10_000
_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """What a report is about."""

    pipeline: Pipeline
    settings: Settings
    partitions: int
    """Of the stream's topic, and of that of the impressions."""
    state: str
    """The id of the state that a run keeps: copies of a re-keyed stream belong to it."""
    expected_effect: float
    """A difference of rates: intervals at any time are narrowest for such a one."""
    positions: int
    """Items of each list that off-policy estimates are about."""


Progress = Callable[[int, int, int], None]
"""Takes the partition, and how many of how many of its records were read."""


async def read_report(
    request: ReportRequest, source: Callable[[], EventSource], progress: Progress
) -> PipelineReport:
    """Read both topics and report on all experiments. Raises Unavailable and ConfigError.

    Memory is bounded: by the users, and by what waits for clicks in one partition.
    """
    pipeline = request.pipeline
    tallies = {one.name: ExperimentTally(one, request.positions) for one in pipeline.experiments}
    spec = pipeline.spec(request.settings.shards, request.state)
    read = rejected = waiting = 0
    for partition in range(request.partitions):
        outcomes = PartitionOutcomes(
            pipeline, spec, partition, request.partitions, tallies, request.positions
        )
        await _PartitionReader(outcomes, partition, source(), progress).read()
        read += outcomes.shown
        rejected += outcomes.rejected
        waiting += outcomes.waiting
    return PipelineReport(
        pipeline=pipeline.name,
        confidence=CONFIDENCE,
        impressions=read,
        rejected=rejected,
        waiting=waiting,
        experiments=[report_on(tally, request.expected_effect) for tally in tallies.values()],
    )


class _PartitionReader:
    """Reads one partition of both topics."""

    def __init__(
        self, outcomes: PartitionOutcomes, partition: int, source: EventSource, progress: Progress
    ) -> None:
        self._outcomes, self._partition = outcomes, partition
        self._source, self._progress = source, progress
        self._topics = (outcomes.events, outcomes.impressions)
        self._left: dict[str, int] = {}
        """By topic that has records left: the offset where reading ends."""
        self._paused: set[str] = set()
        self._newest_ms = 0
        self._read = 0

    async def read(self) -> None:
        """Read both topics to the ends that they have now."""
        source, partition = self._source, self._partition
        await source.start({(topic, partition): None for topic in self._topics})
        try:
            bounds = {topic: await source.bounds(topic, partition) for topic in self._topics}
            total = sum(end - begin for begin, end in bounds.values())
            self._left = {topic: end for topic, (begin, end) in bounds.items() if begin < end}
            while self._left:
                self._pause()
                await self._step()
                self._progress(partition, min(self._read, total), total)
        finally:
            await source.stop()

    async def _step(self) -> None:
        batches = await self._source.poll(_POLL_RECORDS, _POLL_S)
        self._source.take_deleted()  # what retention took since the start counts nowhere
        for batch in batches:
            end = self._left.get(batch.topic)
            if end is None:
                continue
            self._outcomes.take(batch.between(0, end))
            self._newest_ms = max(self._newest_ms, int(batch.timestamps_ms.max()))
            self._read += len(batch.values)
            if int(batch.offsets[-1]) + 1 >= end:
                self._end(batch.topic)
        if not batches:
            # The last offsets may hold no records: markers of transactions.
            for (topic, _), lag in (await self._source.lag()).items():
                if lag == 0 and topic in self._left and topic not in self._paused:
                    self._end(topic)
        if self._outcomes.events not in self._left:
            self._outcomes.no_more_events(self._newest_ms)

    def _end(self, topic: str) -> None:
        del self._left[topic]
        self._source.pause(topic, self._partition)

    def _pause(self) -> None:
        """Let a topic wait for the other where too much waits, and the other has records left."""
        for topic in self._left:
            (other,) = set(self._topics) - {topic}
            waits = other in self._left and self._outcomes.waits(topic)
            if waits and topic not in self._paused:
                self._source.pause(topic, self._partition)
                self._paused.add(topic)
            elif not waits and topic in self._paused:
                self._source.resume(topic, self._partition)
                self._paused.discard(topic)
