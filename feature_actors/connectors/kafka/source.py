"""Reading partitions of Kafka that are assigned by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import aiokafka
import numpy as np
from aiokafka.errors import OffsetOutOfRangeError

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.records import DeletedRecords, RecordBatch, TopicIdentity
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.topic_ids import TopicIdentities

# A fetch that finds nothing comes back after so long, in milliseconds. A partition that was
# resumed or sought waits for the fetch that is under way, so it bounds that wait; and the
# in-memory broker gives new records only to the next fetch, never to a waiting fetch.
_FETCH_WAIT_MS = 20
# Bytes that a fetch may bring of a partition: two batches of 20,000 small events.
_FETCH_PARTITION_BYTES = 4 << 20
# The timestamp type of a record that the broker stamped (Kafka's record format, attributes).
_LOG_APPEND_TIME = 1


class KafkaSource:
    """Reads partitions assigned by hand, with no consumer group; satisfies EventSource.

    Offsets are kept in the reader's snapshots. Records of aborted transactions are left out.
    """

    def __init__(self, kafka: KafkaAccess) -> None:
        self._kafka = kafka
        self._identities = TopicIdentities(kafka)
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._positions: dict[aiokafka.TopicPartition, int] = {}
        self._deleted: list[DeletedRecords] = []
        # By the wall clock, in milliseconds, as the client stamps the answers to its fetches.
        self._clock = SystemClock()
        self._waiting_since: dict[aiokafka.TopicPartition, int] = {}

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Begin at the given offsets; raises Unavailable, or ConfigError for a shorter topic."""
        await self.stop()
        consumer = aiokafka.AIOKafkaConsumer(
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # what retention took is told (see `_back_in_range`)
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_PARTITION_BYTES,
            **self._kafka.arguments(),
        )
        try:
            async with self._kafka.answered():
                await consumer.start()
                wanted = {aiokafka.TopicPartition(*place): at for place, at in positions.items()}
                consumer.assign(list(wanted))
                oldest = await consumer.beginning_offsets(list(wanted))
                ends = await consumer.end_offsets(list(wanted))
            for place, at in wanted.items():
                if at is not None and at > ends[place]:
                    raise _shorter(place, at, ends[place])
                self._move(consumer, place, oldest[place] if at is None else at, oldest[place])
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer
        self._waiting_since = dict.fromkeys(wanted, self._clock.now_ms())

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records, at most one batch a partition. Raises Unavailable."""
        wait_ms = int(timeout_s * 1000)
        async with self._kafka.answered(timeout_s):
            try:
                found = await self._started().getmany(timeout_ms=wait_ms, max_records=max_records)
            except OffsetOutOfRangeError as error:
                await self._back_in_range(error.args[0])
                return []
        for place, records in found.items():
            self._positions[place] = records[-1].offset + 1
        if sum(map(len, found.values())) >= max_records:
            # Records of any of them may lie in memory still: those are not fetched meanwhile.
            self._waiting_since = dict.fromkeys(self._waiting_since, self._clock.now_ms())
        return [_batch(place, records) for place, records in found.items()]

    def take_deleted(self) -> list[DeletedRecords]:
        """What was deleted before it was read, since the last call."""
        found, self._deleted = self._deleted, []
        return found

    def pause(self, topic: str, partition: int) -> None:
        """Give nothing of it until `resume`."""
        place = aiokafka.TopicPartition(topic, partition)
        self._started().pause(place)
        self._waiting_since.pop(place, None)

    def resume(self, topic: str, partition: int) -> None:
        """Undo `pause`."""
        place = aiokafka.TopicPartition(topic, partition)
        self._started().resume(place)
        self._waiting_since.setdefault(place, self._clock.now_ms())

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Give `offset` next."""
        place = aiokafka.TopicPartition(topic, partition)
        self._positions[place] = offset
        self._started().seek(place, offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The offset of the oldest record, and the next offset. Raises Unavailable."""
        consumer, place = self._started(), aiokafka.TopicPartition(topic, partition)
        async with self._kafka.answered():
            oldest, ends = await asyncio.gather(
                consumer.beginning_offsets([place]), consumer.end_offsets([place])
            )
        return oldest[place], ends[place]

    async def lag(self) -> dict[tuple[str, int], int]:
        """The number of records beyond each position, as of the last fetch. Raises Unavailable."""
        consumer = self._started()
        async with self._kafka.answered():
            await self._pass_markers(consumer)
        ends = {place: consumer.highwater(place) for place in self._positions}
        unknown = [place for place, end in ends.items() if end is None]
        if unknown:
            async with self._kafka.answered():
                ends.update(await consumer.end_offsets(unknown))
        return {
            (place.topic, place.partition): max(0, (ends[place] or 0) - at)
            for place, at in self._positions.items()
        }

    async def identities(self, topics: Sequence[str]) -> dict[str, TopicIdentity]:
        """The identities of those `topics` that exist. Raises Unavailable."""
        return await self._identities.read(topics)

    def fetch_age_s(self) -> float:
        """Seconds since a fetch was last answered, of the partition that waits longest for that."""
        if not self._waiting_since:
            return 0.0
        answered = self._started().last_poll_timestamp
        oldest = min(max(at, answered(place) or 0) for place, at in self._waiting_since.items())
        return max(0, self._clock.now_ms() - oldest) / 1000

    async def stop(self) -> None:
        """Leave; safe to call twice."""
        self._waiting_since = {}
        await self._identities.close()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            async with self._kafka.answered():
                leaving = asyncio.ensure_future(consumer.stop())
                await asyncio.wait([leaving])
                # The client cancels what is under way to a broker that is away, and then takes
                # that for a cancellation of its own.
                if not leaving.cancelled():
                    leaving.result()

    async def _back_in_range(self, refused: Mapping[aiokafka.TopicPartition, int]) -> None:
        """Go on where the broker has refused offsets: at the oldest record that is left.

        Beyond its end the topic was created again, and begins anew: the reader sees offsets that
        go back.
        """
        consumer = self._started()
        oldest = await consumer.beginning_offsets(list(refused))
        ends = await consumer.end_offsets(list(refused))
        for place, at in refused.items():
            self._move(consumer, place, at if at <= ends[place] else oldest[place], oldest[place])

    def _move(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        place: aiokafka.TopicPartition,
        at: int,
        oldest: int,
    ) -> None:
        """Give the record at `at` next, or the `oldest` where that is deleted, and note it."""
        if at < oldest:
            self._deleted.append(DeletedRecords(place.topic, place.partition, at, oldest))
        self._positions[place] = max(at, oldest)
        consumer.seek(place, self._positions[place])

    async def _pass_markers(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        """Move the positions beyond offsets without a record: the markers of transactions."""
        for place, at in self._positions.items():
            self._positions[place] = max(at, await consumer.position(place))

    def _started(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            raise Unavailable("kafka", "the source has not been started")
        return self._consumer


def _batch(
    place: aiokafka.TopicPartition, records: Sequence[aiokafka.ConsumerRecord]
) -> RecordBatch:
    return RecordBatch(
        topic=place.topic,
        partition=place.partition,
        values=[record.value for record in records],
        offsets=np.array([record.offset for record in records], dtype=np.int64),
        timestamps_ms=np.array([record.timestamp for record in records], dtype=np.int64),
        stamped_by_broker=np.array(
            [record.timestamp_type == _LOG_APPEND_TIME for record in records], dtype=np.bool_
        ),
        keys=[record.key for record in records],
    )


def _shorter(place: aiokafka.TopicPartition, at: int, end: int) -> ConfigError:
    return ConfigError(
        f"topic {place.topic!r}, partition {place.partition}",
        f"it ends at offset {end}, but records up to {at} were read: it was created again",
        "Remove the state folder of this pipeline, or name the topic differently.",
    )
