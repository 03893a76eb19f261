"""Writing to Kafka's topics: acknowledged records, queued records, and rejected records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.kernels.partitioner import Partitioner
from freshrank.actors.records import RejectedRecord
from freshrank.feature_actors.connectors.kafka.answers import Record
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.producer import KafkaWriter

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


class KafkaSink:
    """Writes records, acknowledged by all replicas; satisfies RecordSink.

    `partitioners` has, by topic, how the partitions of its records are chosen; murmur2 unless it is
    named.
    """

    def __init__(
        self, kafka: KafkaAccess, partitioners: Mapping[str, Partitioner] | None = None
    ) -> None:
        self._kafka = kafka
        self._writer = KafkaWriter(kafka, partitioners or {})
        self._queued: list[Record] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._under_way = 0
        self._failures = 0

    async def start(self) -> None:
        """Connect. Raises Unavailable."""
        await self._writer.start()

    async def send(self, topic: str, key: bytes | None, value: bytes | None) -> tuple[int, int]:
        """Write a record and wait until it is acknowledged; returns (partition, offset)."""
        (answer,) = await self._writer.write([Record(topic, key, value)])
        if isinstance(answer, BadRecord | Unavailable):
            raise answer
        return answer

    async def send_all(
        self, topic: str, records: Sequence[tuple[bytes, bytes]]
    ) -> list[BadRecord | None]:
        """Write records together; gives for each None, or why the topic does not take it.

        Raises Unavailable when one is not known to be written.
        """
        answers = await self._writer.write_batches(topic, records)
        for answer in answers:
            if isinstance(answer, Unavailable):
                raise answer
        return [answer if isinstance(answer, BadRecord) else None for answer in answers]

    def send_nowait(self, topic: str, key: bytes | None, value: bytes) -> None:
        """Queue a record; raises Unavailable when too many wait already."""
        if len(self._queued) + self._under_way >= MOST_QUEUED:
            raise Unavailable("kafka", f"{MOST_QUEUED} records wait for the broker")
        if not self._queued:
            asyncio.get_running_loop().call_later(GATHER_S, self._send_queued)
        self._queued.append(Record(topic, key, value))

    async def reject(self, suffix: str, records: Sequence[RejectedRecord]) -> None:
        """Write to ``<topic><suffix>``, with reason and origin as headers, and wait."""
        keep = _LARGEST_REJECTED
        while records:
            answers = await self._writer.write([_cut(suffix, record, keep) for record in records])
            for answer in answers:
                if isinstance(answer, Unavailable):
                    raise answer
            # Records that the topic refused are written again, cut shorter.
            pairs = zip(records, answers, strict=True)
            records = [record for record, answer in pairs if isinstance(answer, BadRecord)]
            size = min(keep, max((len(record.value or b"") for record in records), default=keep))
            if size == 0:
                raise Unavailable("kafka", f"no record is small enough for the topics {suffix!r}")
            keep = size // _CUT_TO

    @property
    def failures(self) -> int:
        """The number of queued records that are lost, or not known to be written."""
        return self._failures

    async def stop(self) -> None:
        """Write the queued records, within the deadline, and disconnect; safe to call twice."""
        self._send_queued()
        async with self._kafka.answered():
            await asyncio.gather(*self._sending)
        await self._writer.stop()

    def _send_queued(self) -> None:
        if not self._queued:
            return
        records, self._queued = self._queued, []
        self._under_way += len(records)
        task = asyncio.create_task(self._write_all(records))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _write_all(self, records: Sequence[Record]) -> None:
        """Write queued records together, and count the lost ones: no caller waits for them."""
        answers = await self._writer.write(records)
        self._under_way -= len(records)
        self._failures += sum(isinstance(answer, BadRecord | Unavailable) for answer in answers)


def _cut(suffix: str, rejected: RejectedRecord, keep: int) -> Record:
    """At most `keep` bytes of it; its reason, origin and original size as headers."""
    headers, value = _origin(rejected), rejected.value
    if value is not None and len(value) > keep:
        headers.append(("bytes", b"%d" % len(value)))
        value = value[:keep]
    key = f"{rejected.topic}-{rejected.partition}".encode()
    return Record(rejected.topic + suffix, key, value, headers)


def _origin(rejected: RejectedRecord) -> list[tuple[str, bytes]]:
    return [
        ("reason", rejected.reason.encode()),
        ("topic", rejected.topic.encode()),
        ("partition", b"%d" % rejected.partition),
        ("offset", b"%d" % rejected.offset),
    ]
