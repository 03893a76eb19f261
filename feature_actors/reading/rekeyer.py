"""Copies the records of a topic that is keyed otherwise to one that is keyed by the entity."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from freshrank.actors.alerts import AlertSink
from freshrank.actors.backoff import Backoff
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.protocols import JsonValue
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.reading.backlog import Backlog
from freshrank.feature_actors.reading.copy_files import CopyFiles
from freshrank.feature_actors.reading.log_watch import WATCH_S, LogWatch
from freshrank.feature_actors.reading.progress_watch import ProgressWatch
from freshrank.feature_actors.reading.record_copies import (
    BatchCopies,
    CopyMaker,
    CopyProgress,
    CopyRecord,
    copy_records,
)
from freshrank.feature_actors.reading.retention_watch import RetentionWatch
from freshrank.feature_actors.reading.stamp_merge import StampMerge
from freshrank.feature_actors.streams.copies.origin import generation_of
from freshrank.feature_actors.streams.stream import Stream

# Records that are copied at once: all are acknowledged before the next.
_MOST_RECORDS = 20_000
# Bytes of a record of copies, about: a quarter of what brokers take unless they are told otherwise.
# Where a topic takes less, it is halved.
_MOST_BYTES = 256 << 10
# Seconds of a poll, between two questions for the lag, and between two tries while something is
# away.
_POLL_S, _REFRESH_S, _RETRY_S = 0.05, 1.0, 0.5
# Seconds between two files of a partition, whose records are copied again after a crash.
_SAVE_S = 1.0


class Rekeyer:
    """Copies some partitions of a stream's source topic, each record to where its entity belongs.

    A record is copied at least once, and taken once by who reads the copies (`OriginFilter`). One
    that is no event of the stream goes to the partition that its own partition's number hashes to,
    whose shard writes it to the dead letters. Copies are written in the order of the stamps of
    their records, as far as the caller's source partitions go (`StampMerge`).

    Parameters
    ----------
    owned
        The partitions of the copies that the caller's shard owns. It copies those source
        partitions whose number, modulo that of the partitions of the copies, is among these.
    state
        The origin of the state that the copies are for (`PartitionSpec.state`).
    snapshots
        Keeps how far each source partition is copied.
    """

    def __init__(
        self,
        stream: Stream,
        owned: Sequence[int],
        state: str,
        connectors: Connectors,
        snapshots: SnapshotStore,
        alerts: AlertSink | None = None,
    ) -> None:
        self.stream = stream
        self.copied = 0
        """Records since the start of the process."""
        self.backlog = Backlog()
        """Records that were not copied when the process began."""
        self.lag = 0
        """Records that are not copied, as of about a second ago."""
        self._owned = frozenset(owned)
        self._generation = generation_of(state)
        self._partitions = connectors.partitions
        self._files = CopyFiles(stream, state, self._partitions, snapshots)
        self._source_partitions = 0
        self._source = connectors.source()
        self._sink = connectors.sink
        self._clock = connectors.clock
        self._alerts = alerts
        self._maker = CopyMaker(stream, self._partitions)
        self._most_bytes = _MOST_BYTES
        self._merge = StampMerge()
        self._progress: dict[int, CopyProgress] = {}
        self._log: LogWatch | None = None
        self._retention = RetentionWatch(alerts)
        self._stalls = ProgressWatch(alerts)
        self._refresh_at = self._watch_at = 0.0
        self._away: str | None = None
        """Why nothing can be read or copied at present."""

    async def start(self) -> None:
        """Begin to read where the files end. Raises Unavailable, ConfigError."""
        topic = self.stream.topic
        identities = await self._source.identities([topic])
        if topic not in identities:
            raise Unavailable("kafka", f"there is no topic {topic!r}")
        count = self._source_partitions = identities[topic].partitions
        mine = [one for one in range(count) if one % self._partitions in self._owned]
        self._progress = {partition: self._files.restored(partition) for partition in mine}
        self._merge = StampMerge()
        await self._source.start(
            {(topic, partition): at.next_offset for partition, at in self._progress.items()}
        )
        if self._log is None:
            begun = [one for one, at in self._progress.items() if at.next_offset is None]
            await self._retention.begin(self._source, [(topic, one) for one in begun])
            self._log = LogWatch(identities, self._alerts)
            self.backlog = Backlog(sum((await self._source.lag()).values()))
        self._log.compare(identities)

    async def run(self) -> None:
        """Start, then step and save for ever; waits and tries again while something is away."""
        away, started = Backoff(_RETRY_S, _RETRY_S), False
        saving = asyncio.create_task(self._save_forever())
        try:
            while True:
                try:
                    if started:
                        await self.step()
                    else:
                        await self.start()
                        started = True
                    self._away = None
                    away.reset()
                except Unavailable as error:
                    self._away, started = str(error), False
                    await self._clock.sleep(away.next_s())
                if saving.done():
                    saving.result()
        finally:
            saving.cancel()
            await asyncio.gather(saving, return_exceptions=True)
            await self._source.stop()

    async def step(self) -> None:
        """Copy the next records. Raises Unavailable: then `start` again, from the files."""
        if self._changed:
            await self._clock.sleep(_RETRY_S)
            return
        await self._merge_and_copy(await self._source.poll(_MOST_RECORDS, _POLL_S))
        for deleted in self._source.take_deleted():
            self._retention.note(deleted, self._clock.monotonic())
        now = self._clock.monotonic()
        if now >= self._refresh_at:
            self._refresh_at = now + _REFRESH_S
            await self._refresh(now)
        if now >= self._watch_at and self._log is not None:
            self._watch_at = now + WATCH_S
            self._log.compare(await self._source.identities([self.stream.topic]))

    async def unread(self) -> int:
        """The records that are not copied. Raises Unavailable."""
        return sum((await self._source.lag()).values()) + len(self._merge)

    async def save(self) -> None:
        """Write how far the partitions are copied; where the disk fails it is tried again.

        Until then a crash costs more copies that are made again.
        """
        await self._files.save()

    def errors(self) -> dict[str, JsonValue]:
        """What keeps records from being copied, by topic, partition or server."""
        broker = {} if self._away is None else {f"copies of {self.stream.topic}": self._away}
        stalled = {} if self._changed else self._stalls.stalled
        return {**broker, **stalled, **self._changed}

    def health(self) -> dict[str, JsonValue]:
        """What is wrong: also what keeps nothing from being copied."""
        lost = self._retention.lost(self._clock.monotonic())
        disk = self._files.error
        saved = {} if disk is None else {f"copies of {self.stream.topic}: disk": disk}
        return {**self.errors(), **lost, **saved}

    @property
    def _changed(self) -> Mapping[str, str]:
        return {} if self._log is None else self._log.changed

    async def _save_forever(self) -> None:
        """Write the files while copies go on: events would wait for the disk."""
        while True:
            await self._clock.sleep(_SAVE_S)
            await self.save()

    async def _merge_and_copy(self, batches: Sequence[RecordBatch]) -> None:
        topic, merge, now_s = self.stream.topic, self._merge, self._clock.monotonic()
        paused = [partition for partition in self._progress if merge.holds(partition)]
        for batch in batches:
            merge.add(batch, now_s)
        if not len(merge):
            return
        lag = {
            partition: count
            for (_, partition), count in (await self._source.lag()).items()
            if f"{topic}-{partition}" not in self._stalls.stalled
        }
        released = merge.release(lag, now_s)
        # A partition that nothing is held of is never paused: what was fetched of it meanwhile
        # would lie in the client, and hold up fetches of all others.
        for partition in self._progress:
            if merge.holds(partition) and partition not in paused:
                self._source.pause(topic, partition)
            elif partition in paused and not merge.holds(partition):
                self._source.resume(topic, partition)
        if released:
            await self._copy(released)

    async def _refresh(self, now_s: float) -> None:
        """Ask how many records are not copied, and notice partitions that do not get on."""
        lag = await self._source.lag()
        self.lag = sum(lag.values()) + len(self._merge)
        self.backlog.update(self.lag)
        reached = {
            (self.stream.topic, partition): at.next_offset or 0
            for partition, at in self._progress.items()
        }
        held = [place for place in reached if self._merge.holds(place[1])]
        self._stalls.update(reached, lag, held, now_s)

    async def _copy(self, batches: Sequence[RecordBatch]) -> None:
        """Copy batches, and wait until all is written; a record that is too large is rejected."""
        pieces = [self._maker.copies(batch, self._source_partitions) for batch in batches]
        before = [self._progress[batch.partition].previous for batch in batches]
        await self._reject([(piece, *bad) for piece in pieces for bad in piece.unusable])
        while True:
            records = copy_records(pieces, before, self._generation, self._most_bytes)
            values = [(record.key, record.value) for record in records]
            answers = await self._sink.send_all(self.stream.log_topic, values)
            refused = [
                (record, answer)
                for record, answer in zip(records, answers, strict=True)
                if answer is not None
            ]
            if not refused:
                break
            # The others are copied again, as if these had never been.
            await self._reject(self._alone(refused))
        for piece, previous in zip(pieces, before, strict=True):
            partition, progress = piece.batch.partition, piece.progress_after(previous)
            self._progress[partition] = progress
            self._files.note(partition, progress)
            self.copied += len(piece.batch.values)
            self.backlog.read += len(piece.batch.values)

    def _alone(
        self, refused: Sequence[tuple[CopyRecord, BadRecord]]
    ) -> list[tuple[BatchCopies, int, BadRecord]]:
        """What the topic does not take alone either; records of several are to be smaller."""
        together = [len(record.value) for record, _ in refused if len(record.members) > 1]
        if together:
            self._most_bytes = max(1, min(self._most_bytes, *together) // 2)
        return [
            (*record.members[0], error) for record, error in refused if len(record.members) == 1
        ]

    async def _reject(self, refused: Sequence[tuple[BatchCopies, int, BadRecord]]) -> None:
        rejected: list[RejectedRecord] = [
            piece.batch.rejected(place, error.reason) for piece, place, error in refused
        ]
        if rejected:
            await self._sink.reject(".dead", rejected)
        for piece, place, _ in refused:
            piece.refused.add(place)
