"""Copies the records of a topic that is keyed otherwise to one that is keyed by the entity."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from freshrank.actors.alerts import AlertSink
from freshrank.actors.backoff import Backoff
from freshrank.actors.connectors import Connectors
from freshrank.actors.errors import BadRecord, SnapshotError, Unavailable
from freshrank.actors.protocols import JsonValue
from freshrank.actors.records import RecordBatch, RejectedRecord
from freshrank.actors.snapshots.disk import Piece
from freshrank.actors.snapshots.file_format import pack, unpack_for
from freshrank.actors.snapshots.store import SnapshotStore
from freshrank.feature_actors.reading.backlog import Backlog
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

KIND = "rekeying"
"""Of the files that hold how far a partition has been copied."""

# Records that are copied at once: all are acknowledged before the next.
_MOST_RECORDS = 20_000
# Bytes of a record of copies, about: a quarter of what brokers take unless they are told otherwise.
# Where a topic takes less, it is halved.
_MOST_BYTES = 256 << 10
# Seconds of a poll, and between two files of a partition, whose records are copied again after a
# crash, and between two tries while something is away.
_POLL_S, _SAVE_S, _RETRY_S = 0.05, 1.0, 0.5

# What can fail, in `Rekeyer._errors`.
_BROKER, _DISK = "broker", "disk"


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
        self._made_for = made_for(stream, state)
        self._partitions = connectors.partitions
        self._source = connectors.source()
        self._sink = connectors.sink
        self._clock = connectors.clock
        self._snapshots = snapshots
        self._alerts = alerts
        self._maker = CopyMaker(stream, self._partitions)
        self._most_bytes = _MOST_BYTES
        self._merge = StampMerge()
        self._progress: dict[int, CopyProgress] = {}
        self._unsaved: set[int] = set()
        self._log: LogWatch | None = None
        self._retention = RetentionWatch(alerts)
        self._stalls = ProgressWatch(alerts)
        self._save_at = self._watch_at = 0.0
        self._errors: dict[str, str] = {}
        """By what failed last: why."""

    async def start(self) -> None:
        """Begin to read where the files end. Raises Unavailable, ConfigError."""
        topic = self.stream.topic
        identities = await self._source.identities([topic])
        if topic not in identities:
            raise Unavailable("kafka", f"there is no topic {topic!r}")
        count = identities[topic].partitions
        mine = [one for one in range(count) if one % self._partitions in self._owned]
        self._progress = {partition: self._restored(partition) for partition in mine}
        self._merge = StampMerge()
        await self._source.start(
            {(topic, partition): at.next_offset for partition, at in self._progress.items()}
        )
        if self._log is None:
            self._log = LogWatch(identities, self._alerts)
            self.backlog = Backlog(sum((await self._source.lag()).values()))
        self._log.compare(identities)

    async def run(self) -> None:
        """Start, then step for ever; waits and tries again while something is away."""
        away, started = Backoff(_RETRY_S, _RETRY_S), False
        try:
            while True:
                try:
                    if started:
                        await self.step()
                    else:
                        await self.start()
                        started = True
                    self._errors.pop(_BROKER, None)
                    away.reset()
                except Unavailable as error:
                    self._errors[_BROKER], started = str(error), False
                    await self._clock.sleep(away.next_s())
        finally:
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
        if now >= self._save_at:
            self._save_at = now + _SAVE_S
            await self.save()
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
        for partition in sorted(self._unsaved):
            pieces = packed(self._made_for, partition, self._progress[partition])
            name = progress_name(self.stream, partition)
            try:
                await asyncio.to_thread(self._snapshots.save, name, pieces)
            except SnapshotError as error:
                self._errors[_DISK] = str(error)
                return
            self._unsaved.discard(partition)
        self._errors.pop(_DISK, None)

    def errors(self) -> dict[str, JsonValue]:
        """What keeps records from being copied, by topic, partition or server."""
        away = self._errors.get(_BROKER)
        broker = {} if away is None else {f"copies of {self.stream.topic}": away}
        stalled = {} if self._changed else self._stalls.stalled
        return {**broker, **stalled, **self._changed}

    def health(self) -> dict[str, JsonValue]:
        """What is wrong: also what keeps nothing from being copied."""
        lost = self._retention.lost(self._clock.monotonic())
        disk = self._errors.get(_DISK)
        saved = {} if disk is None else {f"copies of {self.stream.topic}: disk": disk}
        return {**self.errors(), **lost, **saved}

    @property
    def _changed(self) -> Mapping[str, str]:
        return {} if self._log is None else self._log.changed

    async def _merge_and_copy(self, batches: Sequence[RecordBatch]) -> None:
        topic, merge, now_s = self.stream.topic, self._merge, self._clock.monotonic()
        for batch in batches:
            merge.add(batch, now_s)
            self._source.pause(topic, batch.partition)
        if not len(merge):
            return
        lag = {
            partition: count
            for (_, partition), count in (await self._source.lag()).items()
            if f"{topic}-{partition}" not in self._stalls.stalled
        }
        held = [partition for partition in self._progress if merge.holds(partition)]
        released = merge.release(lag, now_s)
        for partition in held:
            if not merge.holds(partition):
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
        pieces = [self._maker.copies(batch) for batch in batches]
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
            self._progress[piece.batch.partition] = piece.progress_after(previous)
            self._unsaved.add(piece.batch.partition)
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

    def _restored(self, partition: int) -> CopyProgress:
        """How far the newest whole file says that `partition` is copied."""
        for stored in self._snapshots.candidates(progress_name(self.stream, partition)):
            try:
                meta, arrays = unpack_for(KIND, self._made_for, stored.read())
            except SnapshotError:
                continue  # an older one, or none, costs copies that are made again
            if len(arrays["previous"]) == self._partitions:
                return CopyProgress(meta["offset"], arrays["previous"].copy())
        return CopyProgress.nothing(self._partitions)


def made_for(stream: Stream, state: str) -> str:
    """What the files of a stream's copies for a state are made for."""
    return f"{stream.log_topic} {generation_of(state):016x}"


def progress_name(stream: Stream, partition: int) -> str:
    """The name of the files that say how far a source partition is copied."""
    return f"{stream.topic}-{partition}"


def packed(made: str, partition: int, at: CopyProgress) -> Iterator[Piece]:
    """Such a file (`made_for`), which says that a source partition is copied up to `at`."""
    meta: dict[str, JsonValue] = {"partition": partition, "offset": at.next_offset}
    return pack(KIND, made, meta, {"previous": at.previous.copy()})
