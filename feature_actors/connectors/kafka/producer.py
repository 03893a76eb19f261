"""Writing records to Kafka: a record that the broker refuses does not harm the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import aiokafka
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import Partitioner, partition_of
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

# A batch on its way to the broker, in bytes: 65 events of 250 bytes each fill the client's own
# 16 kB.
_WRITE_BATCH_BYTES = 128 << 10

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""

Answer: TypeAlias = Place | BadRecord | Unavailable
"""The place of a record; BadRecord where its topic never takes one of its size; Unavailable where
it is not known to be written."""

_Written: TypeAlias = "asyncio.Future[aiokafka.RecordMetadata]"


@dataclass(frozen=True, slots=True)
class Record:
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = field(default_factory=list)


class KafkaWriter:
    """Writes records, acknowledged by all replicas; each once, while its topic refuses none.

    An idempotent producer numbers the records of a partition, and counts on after a batch that the
    broker refuses: all later records would be out of order, for ever. So the records of such a
    batch are written again, each alone, by a producer that numbers nothing; from then on it writes
    all records of their topic. There a record may be written twice when a broker dies before it
    answers.
    """

    def __init__(self, kafka: KafkaAccess, partitioners: Mapping[str, Partitioner]) -> None:
        self._kafka = kafka
        self._partitioners = partitioners
        self._numbering: aiokafka.AIOKafkaProducer | None = None
        self._plain: aiokafka.AIOKafkaProducer | None = None
        self._refusing: set[str] = set()
        # Those that wait for a batch of the same partition are all woken by each that goes out.
        self._alone = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises Unavailable."""
        try:
            self._numbering = await self._connected(idempotent=True)
            self._plain = await self._connected(idempotent=False)
        except BaseException:
            await self.stop()
            raise

    async def write(self, records: Sequence[Record]) -> list[Answer]:
        """Write all, and wait until they are safe; those that were refused have two deadlines."""
        answers = await self._write_together(records)
        pairs = zip(records, answers, strict=True)
        refused = [record for record, answer in pairs if answer is None]
        self._refusing.update(record.topic for record in refused)
        again = iter(await asyncio.gather(*map(self._write_alone, refused)))
        return [next(again) if answer is None else answer for answer in answers]

    async def stop(self) -> None:
        """Write the given records, within the deadline, and disconnect; safe to call twice."""
        producers = self._numbering, self._plain
        self._numbering = self._plain = None
        for producer in producers:
            if producer is not None:
                async with self._kafka.answered():
                    await producer.stop()

    async def _connected(self, *, idempotent: bool) -> aiokafka.AIOKafkaProducer:
        producer = aiokafka.AIOKafkaProducer(
            enable_idempotence=idempotent,
            acks="all",
            linger_ms=0,
            max_batch_size=_WRITE_BATCH_BYTES,
            **self._kafka.arguments(),
        )
        try:
            async with self._kafka.answered():
                await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def _write_together(self, records: Sequence[Record]) -> list[Answer | None]:
        """Write all in batches; None for each record of a batch that the broker refused."""
        given: list[_Written | Unavailable | BadRecord] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._kafka.deadline_s):
                for record in records:
                    given.append(await self._give(record))
                written = [answer for answer in given if isinstance(answer, asyncio.Future)]
                if written:
                    await asyncio.wait(written)
        late = Unavailable("kafka", f"not written within {self._kafka.deadline_s} s")
        answers: list[Answer | None] = [
            _answer(answer, late) if isinstance(answer, asyncio.Future) else answer
            for answer in given
        ]
        return answers + [late] * (len(records) - len(given))

    async def _give(self, record: Record) -> _Written | Unavailable | BadRecord:
        producer = self._plain if record.topic in self._refusing else self._numbering
        if producer is None:
            return _not_connected()
        try:
            partition = await self._partition(producer, record)
            return await producer.send(
                record.topic,
                record.value,
                key=record.key,
                partition=partition,
                headers=record.headers,
            )
        except (KafkaError, OSError) as error:  # of the client: the broker has not seen it
            return _failure(record, error)

    async def _write_alone(self, record: Record) -> Answer:
        """Write it in a batch of its own: records of other batches cannot harm it."""
        plain = self._plain
        if plain is None:
            return _not_connected()
        batch = plain.create_batch()
        batch.append(timestamp=None, key=record.key, value=record.value, headers=record.headers)
        batch.close()
        try:
            async with asyncio.timeout(self._kafka.deadline_s), self._alone:
                # Without a key it may lie anywhere.
                partition = await self._partition(plain, record) or 0
                written = await plain.send_batch(batch, record.topic, partition=partition)
                # Shielded: the client itself sets the result of what it gave away.
                safe = await asyncio.shield(written)
        except (KafkaError, OSError) as error:  # TimeoutError is an OSError
            return _failure(record, error)
        return safe.partition, safe.offset

    async def _partition(self, producer: aiokafka.AIOKafkaProducer, record: Record) -> int | None:
        """The partition of a record by its key; None where it has none."""
        if record.key is None:
            return None
        partitioner = self._partitioners.get(record.topic, Partitioner.MURMUR2)
        count = len(await producer.partitions_for(record.topic))
        return partition_of(record.key, count, partitioner)


def _not_connected() -> Unavailable:
    return Unavailable("kafka", "not started, or stopped")


def _answer(written: _Written, late: Unavailable) -> Answer | None:
    if not written.done():
        written.add_done_callback(asyncio.Future.exception)  # looked at, or asyncio complains
        return late
    error = written.exception()
    if error is None:
        return written.result().partition, written.result().offset
    if not isinstance(error, KafkaError):
        raise error
    return Unavailable("kafka", str(error)) if error.retriable else None


def _failure(record: Record, error: KafkaError | OSError) -> Unavailable | BadRecord:
    if isinstance(error, MessageSizeTooLargeError):
        size = len(record.value or b"")
        return BadRecord(f"{size} bytes are more than topic {record.topic!r} takes")
    return Unavailable("kafka", str(error) or type(error).__name__)
