"""Reads what was served and what users did, one partition after the other, to the ends of now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

from freshrank.actors.protocols import EventSource
from freshrank.deploy.served.partition_join import JoinedRows, PartitionJoin
from freshrank.deploy.served.topics import ServedLog
from freshrank.feature_actors.partition.placement import Placement

_POLL_RECORDS = 10_000
_POLL_S = 0.2

Progress: TypeAlias = Callable[[int, int, int], None]
"""Takes the partition, and how many of how many of its records were read."""


async def joined_partitions(
    log: ServedLog, rows: Callable[[PartitionJoin], JoinedRows], progress: Progress
) -> AsyncIterator[PartitionJoin]:
    """Read all partitions, and yield the join of each at its end; `rows` takes what it gives.

    Memory is bounded: by what waits for events in one partition. Raises Unavailable.
    """
    spec = log.pipeline.spec(log.settings.shards, log.state)
    for partition in range(log.partitions):
        placement = Placement(spec.stream.placed_by, partition, log.partitions)
        join = PartitionJoin(log.pipeline, spec, placement, log.layouts, rows)
        await _PartitionReader(join, partition, log.source(), progress).read()
        yield join


class _PartitionReader:
    """Reads one partition of both topics into their join."""

    def __init__(
        self, join: PartitionJoin, partition: int, source: EventSource, progress: Progress
    ) -> None:
        self._join, self._partition = join, partition
        self._source, self._progress = source, progress
        self._topics = (join.events, join.impressions)
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
            self._join.events_begin = bounds[self._join.events][0]
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
            self._join.take(batch.between(0, end))
            self._newest_ms = max(self._newest_ms, int(batch.timestamps_ms.max()))
            self._read += len(batch.values)
            if int(batch.offsets[-1]) + 1 >= end:
                self._end(batch.topic)
        if not batches:
            # The last offsets may hold no records: markers of transactions.
            for (topic, _), lag in (await self._source.lag()).items():
                if lag == 0 and topic in self._left and topic not in self._paused:
                    self._end(topic)
        if self._join.events not in self._left:
            self._join.no_more_events(self._newest_ms)

    def _end(self, topic: str) -> None:
        del self._left[topic]
        self._source.pause(topic, self._partition)

    def _pause(self) -> None:
        """Let a topic wait for the other where too much waits, and the other has records left."""
        for topic in self._left:
            (other,) = set(self._topics) - {topic}
            waits = other in self._left and self._join.waits(topic)
            if waits and topic not in self._paused:
                self._source.pause(topic, self._partition)
                self._paused.add(topic)
            elif not waits and topic in self._paused:
                self._source.resume(topic, self._partition)
                self._paused.discard(topic)
