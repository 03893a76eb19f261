"""Writing records to Kafka: a record that the broker refuses does not harm the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import aiokafka
from aiokafka.errors import KafkaConnectionError, KafkaError

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import Partitioner, partition_of, partitions_of
from freshrank.feature_actors.connectors.kafka.answers import (
    NOT_CONNECTED,
    Answer,
    Record,
    Written,
    answer_of,
    failure_of,
    not_connected,
    place_after,
    too_large,
    unavailable,
)
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.halving import write_halves

# A batch on its way to the broker, in bytes: 65 events of 250 bytes each fill the client's own
# 16 kB.
_WRITE_BATCH_BYTES = 128 << 10
# Bytes of a record and of what the client sends with it. It is the client's own bound; a batch that
# the broker refuses costs more.
_MOST_BYTES, _MOST_OVERHEAD = 1 << 20, 100


@dataclass(slots=True)
class _Batch:
    """Records of one partition that go out together."""

    partition: int
    builder: aiokafka.BatchBuilder
    written: Written | Unavailable
    """The client's answer; before it has the batch, that it is late."""
    places: list[int] = field(default_factory=list)
    """Of its records, among those that are to be written."""

    def takes(self, place: int, key: bytes, value: bytes) -> bool:
        """Add a record; False where it has no room."""
        fits = self.builder.append(timestamp=None, key=key, value=value) is not None
        if fits:
            self.places.append(place)
        return fits


class KafkaWriter:
    """Writes records, acknowledged by all replicas; each once, while its topic refuses none.

    An idempotent producer numbers the records of a partition, and counts on after a batch that the
    broker refuses: all later records would be out of order, for ever. So the records of such a
    batch are written again, in smaller batches, by a producer that numbers nothing; from then on it
    writes all records of their topic. There a record may be written twice when a broker dies before
    it answers.
    """

    def __init__(self, kafka: KafkaAccess, partitioners: Mapping[str, Partitioner]) -> None:
        self._kafka = kafka
        self._partitioners = partitioners
        self._numbering: aiokafka.AIOKafkaProducer | None = None
        self._plain: aiokafka.AIOKafkaProducer | None = None
        self._refusing: set[str] = set()
        # Those that wait for a batch of the same partition are all woken by each that goes out.
        self._again = asyncio.Lock()

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
        return await self._write_again(records, await self._write_together(records))

    async def write_batches(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[Answer]:
        """Write many records of a topic, by key and value, as `write` does.

        Those of a partition keep their order; where the broker refuses a batch, those behind it are
        written a second time. It takes a tenth of the time of `write`, which calls
        the client for each record; but a batch waits for the one before it.
        """
        answers = await self._write_batches(topic, records)
        if all(answers):
            return [answer for answer in answers if answer is not None]
        return await self._write_again([Record(topic, *record) for record in records], answers)

    async def _write_again(
        self, records: Sequence[Record], answers: Sequence[Answer | None]
    ) -> list[Answer]:
        """Write the records without an answer, in batches that are halved while they are refused.

        Of n records of which the broker takes all but one, 2 log2(n) batches go out, not n.
        """
        found = [self._late() if answer is None else answer for answer in answers]
        left = [place for place, answer in enumerate(answers) if answer is None]
        if not left:
            return found
        self._refusing.update(records[place].topic for place in left)
        with contextlib.suppress(TimeoutError):  # those without an answer are late
            async with asyncio.timeout(self._kafka.deadline_s), self._again:
                for partition, places in (await self._placed(records, left, found)).items():
                    await write_halves(self._plain, partition, places, records, found)
        return found

    async def _placed(
        self, records: Sequence[Record], left: Sequence[int], found: list[Answer]
    ) -> Mapping[tuple[str, int], list[int]]:
        """Those of `left`, by the topic and partition where their records belong, in order.

        Where the client does not know the partition, its reason is put in `found`.
        """
        places: dict[tuple[str, int], list[int]] = {}
        for place in left:
            record, plain = records[place], self._plain
            if plain is None:
                found[place] = not_connected()
                continue
            try:
                # Without a key it may lie anywhere.
                partition = await self._partition(plain, record) or 0
            except (KafkaError, OSError) as error:
                found[place] = unavailable(error)
            else:
                places.setdefault((record.topic, partition), []).append(place)
        return places

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
        given: list[Written | Unavailable | BadRecord] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._kafka.deadline_s):
                for record in records:
                    given.append(await self._give(record))
                written = [answer for answer in given if isinstance(answer, asyncio.Future)]
                if written:
                    await asyncio.wait(written)
        late = self._late()
        answers: list[Answer | None] = [
            answer_of(answer, late) if isinstance(answer, asyncio.Future) else answer
            for answer in given
        ]
        return answers + [late] * (len(records) - len(given))

    async def _write_batches(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[Answer | None]:
        """Write all in batches; None for each record of a batch that the broker refused."""
        answers: list[Answer | None] = [self._late()] * len(records)
        batches: list[list[_Batch]] = []
        try:
            async with asyncio.timeout(self._kafka.deadline_s):
                batches += await self._batches(topic, records, answers)
                await asyncio.gather(*(self._give_batches(topic, held) for held in batches))
                given = [batch.written for held in batches for batch in held]
                written = [answer for answer in given if isinstance(answer, asyncio.Future)]
                if written:
                    await asyncio.wait(written)
        except TimeoutError:
            pass  # those without an answer are late
        except (KafkaError, OSError) as error:  # of the client: the broker has not seen any
            return [unavailable(error)] * len(records)
        for held in batches:
            self._put_answers(held, answers)
        return answers

    def _put_answers(self, batches: Sequence[_Batch], answers: list[Answer | None]) -> None:
        """Put the answers to the batches of a partition where their records are.

        What was written behind a batch that the broker refused is to be written again, behind it.
        """
        late, refused = self._late(), False
        for batch in batches:
            given = batch.written
            first = answer_of(given, late) if isinstance(given, asyncio.Future) else given
            refused = refused or first is None
            for number, place in enumerate(batch.places):
                answers[place] = None if refused else place_after(first, number)

    async def _batches(
        self, topic: str, records: Sequence[tuple[bytes, bytes]], answers: list[Answer | None]
    ) -> list[list[_Batch]]:
        """Put the records into batches of each partition; one that is too large gets its answer."""
        producer = self._producer_of(topic)
        if producer is None:
            raise KafkaConnectionError(NOT_CONNECTED)
        partitioner = self._partitioners.get(topic, Partitioner.MURMUR2)
        count = len(await producer.partitions_for(topic))
        belong = partitions_of([key for key, _ in records], count, partitioner).tolist()
        found: dict[int, list[_Batch]] = {}
        for place, ((key, value), partition) in enumerate(zip(records, belong, strict=True)):
            if len(key) + len(value) > _MOST_BYTES - _MOST_OVERHEAD:
                answers[place] = too_large(topic, value)
                continue
            batches = found.setdefault(partition, [])
            if not (batches and batches[-1].takes(place, key, value)):
                batches.append(_Batch(partition, producer.create_batch(), self._late()))
                batches[-1].takes(place, key, value)  # the first always fits
        return list(found.values())

    async def _give_batches(self, topic: str, batches: Sequence[_Batch]) -> None:
        """Give the client the batches of a partition, one after the other, as far as it takes them.

        Those behind one that it does not take stay late: they may not lie before it.
        """
        producer = self._producer_of(topic)
        if producer is None:
            raise KafkaConnectionError(NOT_CONNECTED)
        for batch in batches:
            at = batch.partition
            try:
                batch.written = await producer.send_batch(batch.builder, topic, partition=at)
            except (KafkaError, OSError) as error:
                batch.written = unavailable(error)
                return

    async def _give(self, record: Record) -> Written | Unavailable | BadRecord:
        producer = self._producer_of(record.topic)
        if producer is None:
            return not_connected()
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
            return failure_of(record.topic, record.value, error)

    def _producer_of(self, topic: str) -> aiokafka.AIOKafkaProducer | None:
        return self._plain if topic in self._refusing else self._numbering

    def _late(self) -> Unavailable:
        return Unavailable("kafka", f"not written within {self._kafka.deadline_s} s")

    async def _partition(self, producer: aiokafka.AIOKafkaProducer, record: Record) -> int | None:
        """The partition of a record by its key; None where it has none."""
        if record.key is None:
            return None
        partitioner = self._partitioners.get(record.topic, Partitioner.MURMUR2)
        count = len(await producer.partitions_for(record.topic))
        return partition_of(record.key, count, partitioner)
