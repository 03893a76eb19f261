"""Invalid records, marked when they are written, and the dead letters that they lead to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.workloads.record_accounting import RecordPosition

MARK = b"spoilt"
"""In every spoilt record, and in no valid one."""

# Each makes an invalid record of a valid event of the shop; see docs/guarantees.md, "Records".
_WAYS: Sequence[Callable[[bytes], bytes]] = (
    lambda event: MARK + event,  # not JSON
    lambda event: event[: len(event) // 2] + MARK,  # half a record
    lambda event: event.replace(b'"user_id":"', b'"user_id":"spoilt\xff'),  # not UTF-8
    lambda event: event.replace(b'"price":', b'"spoilt":'),  # a field is missing
    lambda event: event.replace(b'"item_id":', b'"item_id":"spoilt","was":'),  # another type
    lambda event: event.replace(b'"ts":', b'"spoilt":0,"ts":-'),  # before 1970
)
WAYS = len(_WAYS)

# Records of one read, and seconds to wait for as many (there are fewer at the end of a topic).
_RECORDS = 10_000
_WAIT_S = 0.2
# Seconds without any record after which the broker counts as unavailable.
_SILENCE_S = 20.0


def spoilt(event: bytes, way: int) -> bytes:
    """Return an invalid record made of the valid `event`; `way` is one of range(WAYS).

    >>> spoilt(b'{"price":9.9}', 3)
    b'{"spoilt":9.9}'
    """
    return _WAYS[way](event)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The spoilt records of a log, and the records that its dead letters name as their origin."""

    spoilt: frozenset[RecordPosition]
    dead: frozenset[RecordPosition]

    @property
    def lost(self) -> int:
        """How many spoilt records have no dead letter."""
        return len(self.spoilt - self.dead)

    @property
    def strange(self) -> int:
        """How many records have a dead letter although they are valid."""
        return len(self.dead - self.spoilt)


def read_dead_letters(bootstrap: str, topics: Sequence[str]) -> DeadLetters:
    """Read `topics` and the dead-letter topic of each, from the first record to the last.

    Raises Unavailable.
    """
    spoilt_records = (
        (topic, record.partition() or 0, record.offset() or 0)
        for topic in topics
        for record in read_topic(bootstrap, topic)
        if MARK in (record.value() or b"")
    )
    dead = (origin(record) for topic in topics for record in read_topic(bootstrap, f"{topic}.dead"))
    return DeadLetters(frozenset(spoilt_records), frozenset(dead))


def origin(letter: Message[bytes, bytes]) -> RecordPosition:
    """Return the position of the rejected record, from the headers of its dead letter."""
    headers = letter.headers() or []
    values = dict(headers.items() if isinstance(headers, dict) else headers)
    topic, partition, offset = (_text(values[name]) for name in ("topic", "partition", "offset"))
    return topic, int(partition), int(offset)


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""


def read_topic(bootstrap: str, topic: str) -> Iterator[Message[bytes, bytes]]:
    """Yield the records of a topic up to its present end. Raises Unavailable."""
    # Without its own log on standard error; its errors are raised below.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 0})
    try:
        ends = _offsets(consumer, topic)
        consumer.assign(
            [TopicPartition(topic, partition, begin) for partition, (begin, _) in ends.items()]
        )
        unread = {partition: end for partition, (begin, end) in ends.items() if end > begin}
        last_read = time.monotonic()
        while unread:
            records = consumer.consume(_RECORDS, _WAIT_S)
            last_read = time.monotonic() if records else last_read
            if time.monotonic() - last_read > _SILENCE_S:
                raise Unavailable("kafka", f"no more of {topic}, but {unread} should be there")
            for record in records:
                partition, offset = record.partition() or 0, record.offset() or 0
                if (error := record.error()) is not None:
                    raise Unavailable("kafka", str(error))
                if offset < ends[partition][1]:
                    yield record
                if offset >= ends[partition][1] - 1:
                    unread.pop(partition, None)
    except KafkaException as error:
        raise Unavailable("kafka", str(error)) from error
    finally:
        consumer.close()


def _offsets(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first and the next offset of each partition."""
    partitions = consumer.list_topics(topic, _SILENCE_S).topics[topic].partitions
    return {
        partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), _SILENCE_S)
        for partition in partitions
    }
