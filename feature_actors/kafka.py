"""Kafka: reading partitions assigned by hand, writing records, making topics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import aiokafka
import numpy as np
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    TopicAlreadyExistsError,
    for_code,
)

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.messages import RecordBatch, RejectedRecord
from freshrank.feature_actors.kafka_security import OPEN, KafkaSecurity

# Seconds after which a broker that does not answer counts as away.
DEADLINE_S = 10.0
# A fetch that finds nothing comes back after so long, in milliseconds. A partition that was
# resumed or sought waits for the fetch that is under way, so it bounds that wait; and the
# in-memory broker gives new records only to the next fetch, never to one that waits.
_FETCH_WAIT_MS = 20
# What one fetch may bring of one partition, in bytes: two batches of 20,000 small events.
_FETCH_PARTITION_BYTES = 4 << 20
# A batch on its way to the broker: 65 events of 250 bytes each fill the client's own 16 kB.
_WRITE_BATCH_BYTES = 128 << 10
# A record larger than this is cut when it is rejected, in bytes: it may have come from a topic
# whose limit is higher than that of its dead letters (1 MiB unless configured). Where that limit
# is lower still, a record that it refuses is cut to a quarter, again and again.
_LARGEST_REJECTED = 900_000
_CUT_TO = 4
# Records that may wait in memory for the broker before `send_nowait` refuses.
MOST_QUEUED = 10_000
# Seconds that queued records gather before they go out together: a request to the broker for each
# would cost both sides more than scoring what it logs.
GATHER_S = 0.005
# Replicas of a topic made here, where there are as many brokers: one may then fail.
_REPLICAS = 3
# Seconds between two looks for a topic that was just made.
_LOOK_AGAIN_S = 0.05


@contextlib.asynccontextmanager
async def _translated(deadline_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (KafkaError, OSError) as error:  # TimeoutError is an OSError
        raise Unavailable("kafka", str(error) or type(error).__name__) from error


class KafkaSource:
    """Reads partitions assigned by hand, with no consumer group; satisfies EventSource.

    Offsets live in the snapshots of who reads. Records of aborted transactions are left out.
    """

    def __init__(
        self,
        bootstrap: str,
        deadline_s: float = DEADLINE_S,
        security: KafkaSecurity = OPEN,
    ) -> None:
        self._bootstrap = bootstrap
        self._deadline_s = deadline_s
        self._security = security
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._positions: dict[aiokafka.TopicPartition, int] = {}

    async def start(self, positions: Mapping[tuple[str, int], int | None]) -> None:
        """Begin at the given offsets; raises Unavailable, or ConfigError for a shorter topic."""
        await self.stop()
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",  # what retention took is gone
            isolation_level="read_committed",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_PARTITION_BYTES,
            request_timeout_ms=int(self._deadline_s * 1000),
            **self._security.arguments(),
        )
        try:
            async with _translated(self._deadline_s):
                await consumer.start()
                wanted = {aiokafka.TopicPartition(*one): at for one, at in positions.items()}
                consumer.assign(list(wanted))
                oldest = await consumer.beginning_offsets(list(wanted))
                ends = await consumer.end_offsets(list(wanted))
            for one, at in wanted.items():
                if at is not None and at > ends[one]:
                    raise _shorter(one, at, ends[one])
                self._positions[one] = oldest[one] if at is None else max(at, oldest[one])
                consumer.seek(one, self._positions[one])
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer

    async def poll(self, max_records: int, timeout_s: float) -> list[RecordBatch]:
        """The next records, at most one batch a partition. Raises Unavailable."""
        wait_ms = int(timeout_s * 1000)
        async with _translated(self._deadline_s + timeout_s):
            found = await self._started().getmany(timeout_ms=wait_ms, max_records=max_records)
        for one, records in found.items():
            self._positions[one] = records[-1].offset + 1
        return [_batch(one, records) for one, records in found.items()]

    def pause(self, topic: str, partition: int) -> None:
        """Give nothing of it until `resume`."""
        self._started().pause(aiokafka.TopicPartition(topic, partition))

    def resume(self, topic: str, partition: int) -> None:
        """Undo `pause`."""
        self._started().resume(aiokafka.TopicPartition(topic, partition))

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Give `offset` next."""
        one = aiokafka.TopicPartition(topic, partition)
        self._positions[one] = offset
        self._started().seek(one, offset)

    async def lag(self) -> dict[tuple[str, int], int]:
        """How many records lie beyond each position, as of the last fetch. Raises Unavailable."""
        consumer = self._started()
        ends = {one: consumer.highwater(one) for one in self._positions}
        unknown = [one for one, end in ends.items() if end is None]
        if unknown:
            async with _translated(self._deadline_s):
                ends.update(await consumer.end_offsets(unknown))
        return {
            (one.topic, one.partition): max(0, (ends[one] or 0) - at)
            for one, at in self._positions.items()
        }

    async def stop(self) -> None:
        """Leave; safe to call twice."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            async with _translated(self._deadline_s):
                leaving = asyncio.ensure_future(consumer.stop())
                await asyncio.wait([leaving])
                # The client cancels what is under way to a broker that is away, and then takes
                # that for a cancellation of its own.
                if not leaving.cancelled():
                    leaving.result()

    def _started(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            raise Unavailable("kafka", "the source has not been started")
        return self._consumer


def _batch(one: aiokafka.TopicPartition, records: Sequence[aiokafka.ConsumerRecord]) -> RecordBatch:
    return RecordBatch(
        topic=one.topic,
        partition=one.partition,
        values=[record.value for record in records],
        offsets=np.array([record.offset for record in records], dtype=np.int64),
        timestamps_ms=np.array([record.timestamp for record in records], dtype=np.int64),
    )


def _shorter(one: aiokafka.TopicPartition, at: int, end: int) -> ConfigError:
    return ConfigError(
        f"topic {one.topic!r}, partition {one.partition}",
        f"it ends at offset {end}, but records up to {at} were read: it was made anew",
        "Remove the state folder of this pipeline, or name the topic differently.",
    )


class KafkaSink:
    """Writes records, idempotently and acknowledged by all replicas; satisfies RecordSink."""

    def __init__(
        self,
        bootstrap: str,
        deadline_s: float = DEADLINE_S,
        security: KafkaSecurity = OPEN,
    ) -> None:
        self._bootstrap = bootstrap
        self._deadline_s = deadline_s
        self._security = security
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._queued: list[tuple[str, bytes | None, bytes]] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._failures = 0
        self._rejecting: aiokafka.AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises Unavailable."""
        self._producer = await self._connected(idempotent=True)

    async def send(self, topic: str, key: bytes | None, value: bytes) -> tuple[int, int]:
        """Write one record and wait until it is safe; gives (partition, offset)."""
        producer = self._started()
        async with _translated(self._deadline_s):
            written = await producer.send(topic, value, key=key)
            # Shielded: the client itself sets the result of what it gave away.
            safe = await asyncio.shield(written)
        return safe.partition, safe.offset

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue one record; raises Unavailable when too many wait already."""
        if len(self._queued) + self._under_way >= MOST_QUEUED:
            raise Unavailable("kafka", f"{MOST_QUEUED} records wait for the broker")
        if not self._queued:
            asyncio.get_running_loop().call_later(GATHER_S, self._send_queued)
        self._queued.append((topic, key, value))

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        """Write to ``<topic><suffix>``, with reason and origin as headers, and wait."""
        if self._rejecting is None:
            # Not idempotent: the client counts on after a record that the broker refuses, and all
            # later ones of its partition would be out of order. Once more than once does no harm.
            self._rejecting = await self._connected(idempotent=False)
        writes = (self._write_cut(suffix, one, _LARGEST_REJECTED) for one in records)
        answers = await asyncio.gather(*writes, return_exceptions=True)
        for error in answers:
            if isinstance(error, BaseException) and not _too_large(error):
                raise error
        # It may be the batch that was too large: each of it goes alone, and is cut if it must.
        for one, error in zip(records, answers, strict=True):
            if error is not None:
                await self._write_alone(suffix, one)

    @property
    def failures(self) -> int:
        """How many queued records were lost for good."""
        return self._failures

    async def stop(self) -> None:
        """Write what is queued, within the deadline, and leave; safe to call twice."""
        self._send_queued()
        async with _translated(self._deadline_s):
            await asyncio.gather(*self._sending)
        producers = self._producer, self._rejecting
        self._producer = self._rejecting = None
        for producer in producers:
            if producer is not None:
                async with _translated(self._deadline_s):
                    await producer.stop()

    async def _connected(self, *, idempotent: bool) -> aiokafka.AIOKafkaProducer:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            enable_idempotence=idempotent,
            acks="all",
            linger_ms=0,
            max_batch_size=_WRITE_BATCH_BYTES,
            request_timeout_ms=int(self._deadline_s * 1000),
            **self._security.arguments(),
        )
        try:
            async with _translated(self._deadline_s):
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _send_queued(self) -> None:
        if not self._queued:
            return
        records, self._queued = self._queued, []
        self._under_way += len(records)
        task = asyncio.create_task(self._write_all(records))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _write_all(self, records: Sequence[tuple[str, bytes | None, bytes]]) -> None:
        """Write queued records together, and count those that are lost."""
        written: list[asyncio.Future[aiokafka.RecordMetadata]] = []
        # A failure is counted below: who queued them does not wait.
        with contextlib.suppress(Unavailable):
            async with _translated(self._deadline_s):
                for topic, key, value in records:
                    with contextlib.suppress(KafkaError):  # too large: the others go on
                        written.append(await self._started().send(topic, value, key=key))
                if written:
                    await asyncio.wait(written)
        self._under_way -= len(records)
        self._failures += len(records) - sum(map(_succeeded, written))

    async def _write_alone(self, suffix: str, one: RejectedRecord) -> None:
        keep = _LARGEST_REJECTED
        while True:
            try:
                await self._write_cut(suffix, one, keep)
                return
            except Unavailable as error:
                size = min(keep, len(one.value or b""))
                if size == 0 or not _too_large(error):
                    raise
                keep = size // _CUT_TO

    async def _write_cut(self, suffix: str, one: RejectedRecord, keep: int) -> None:
        """Write at most `keep` bytes of a record, and say how many it had."""
        headers, value = _origin(one), one.value
        if value is not None and len(value) > keep:
            headers.append(("bytes", b"%d" % len(value)))
            value = value[:keep]
        key = f"{one.topic}-{one.partition}".encode()
        if self._rejecting is None:
            raise Unavailable("kafka", "the sink has been stopped")
        async with _translated(self._deadline_s):
            written = await self._rejecting.send(
                one.topic + suffix, value, key=key, headers=headers
            )
            await asyncio.shield(written)

    def _started(self) -> aiokafka.AIOKafkaProducer:
        if self._producer is None:
            raise Unavailable("kafka", "the sink has not been started")
        return self._producer


def _succeeded(written: asyncio.Future[aiokafka.RecordMetadata]) -> bool:
    return written.done() and not written.cancelled() and written.exception() is None


def _too_large(error: BaseException) -> bool:
    return isinstance(error.__cause__, MessageSizeTooLargeError)


def _origin(one: RejectedRecord) -> list[tuple[str, bytes]]:
    """Reason and origin of a rejected record, as headers."""
    return [
        ("reason", one.reason.encode()),
        ("topic", one.topic.encode()),
        ("partition", b"%d" % one.partition),
        ("offset", b"%d" % one.offset),
    ]


async def ensure_topics(
    bootstrap: str,
    topics: Sequence[str],
    partitions: int,
    deadline_s: float = DEADLINE_S,
    security: KafkaSecurity = OPEN,
) -> None:
    """Make the topics that are not there, and wait until all can be used.

    Raises Unavailable, or ConfigError when the broker refuses a name.
    """
    async with _metadata(bootstrap, deadline_s, security) as client:
        known = await client.fetch_all_metadata()
        missing = [one for one in topics if known.partitions_for_topic(one) is None]
        if missing and client.cluster.controller is not None:
            replicas = min(_REPLICAS, len(known.brokers()))
            topics_to_make = [NewTopic(one, partitions, replicas) for one in missing]
            await _create(bootstrap, topics_to_make, deadline_s, security)
        while missing:
            # A broker without a controller has no admin interface (librdkafka's mock): there
            # a topic appears, with the broker's own number of partitions, when asked for.
            await client.set_topics(missing)
            known = await client.fetch_all_metadata()
            missing = [one for one in missing if known.partitions_for_topic(one) is None]
            if missing:
                await asyncio.sleep(_LOOK_AGAIN_S)


async def partition_count(
    bootstrap: str, topic: str, deadline_s: float = DEADLINE_S, security: KafkaSecurity = OPEN
) -> int:
    """How many partitions `topic` has. Raises Unavailable, or ConfigError when it is not there."""
    async with _metadata(bootstrap, deadline_s, security) as client:
        found = (await client.fetch_all_metadata()).partitions_for_topic(topic)
    if found is None:
        raise ConfigError(f"topic {topic!r}", f"{bootstrap} has no such topic", "Make it first.")
    return len(found)


@contextlib.asynccontextmanager
async def _metadata(
    bootstrap: str, deadline_s: float, security: KafkaSecurity
) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(
        bootstrap_servers=bootstrap,
        request_timeout_ms=int(deadline_s * 1000),
        **security.arguments(),
    )
    try:
        async with _translated(deadline_s):
            await client.bootstrap()
            yield client
    finally:
        await client.close()


async def _create(
    bootstrap: str, topics: list[NewTopic], deadline_s: float, security: KafkaSecurity
) -> None:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap,
        request_timeout_ms=int(deadline_s * 1000),
        **security.arguments(),
    )
    try:
        await admin.start()
        answer = await admin.create_topics(topics)
    finally:
        await admin.close()
    for topic, code, *details in answer.topic_errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            name = for_code(code).__name__
            raise ConfigError(f"topic {topic!r}", f"{name} {details}", "Make it by hand.")
