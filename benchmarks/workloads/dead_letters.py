"""Records that are no use, marked where they are written, and looked for among the dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from freshrank.actors.errors import Unavailable
from freshrank.benchmarks.workloads.record_accounting import Place

# In each spoilt record, and in no good one.
MARK = b"spoilt"

# What spoils a good event of the shop; see docs/guarantees.md, "Records".
_WAYS: Sequence[Callable[[bytes], bytes]] = (
    lambda good: MARK + good,  # no JSON
    lambda good: good[: len(good) // 2] + MARK,  # half a record
    lambda good: good.replace(b'"user_id":"', b'"user_id":"spoilt\xff'),  # no UTF-8
    lambda good: good.replace(b'"price":', b'"spoilt":'),  # a field is missing
    lambda good: good.replace(b'"item_id":', b'"item_id":"spoilt","was":'),  # another type
    lambda good: good.replace(b'"ts":', b'"spoilt":0,"ts":-'),  # before 1970
)
WAYS = len(_WAYS)

# At once, and seconds to wait for so many: at the end of a topic it is fewer.
_RECORDS = 10_000
_WAIT_S = 0.2
# Seconds of silence after which the broker counts as away.
_SILENCE_S = 20.0


def spoilt(event: bytes, way: int) -> bytes:
    """A record that no stream of the shop takes, made of one that it would take."""
    return _WAYS[way](event)


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The spoilt records of a log, and what its dead letters say they are of."""

    spoilt: frozenset[Place]
    dead: frozenset[Place]

    @property
    def lost(self) -> int:
        """Spoilt records without a dead letter."""
        return len(self.spoilt - self.dead)

    @property
    def strange(self) -> int:
        """Records with a dead letter that are not spoilt."""
        return len(self.dead - self.spoilt)


def read_dead_letters(bootstrap: str, topics: Sequence[str]) -> DeadLetters:
    """Read `topics` and the dead letters of each, from their first to their last record.

    Raises Unavailable.
    """
    bad = (
        (topic, one.partition() or 0, one.offset() or 0)
        for topic in topics
        for one in records(bootstrap, topic)
        if MARK in (one.value() or b"")
    )
    dead = (origin(one) for topic in topics for one in records(bootstrap, f"{topic}.dead"))
    return DeadLetters(frozenset(bad), frozenset(dead))


def origin(letter: Message[bytes, bytes]) -> Place:
    """Where the record lies that a dead letter is of."""
    headers = letter.headers() or []
    told = dict(headers.items() if isinstance(headers, dict) else headers)
    topic, partition, offset = (_text(told[one]) for one in ("topic", "partition", "offset"))
    return topic, int(partition), int(offset)


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""


def records(bootstrap: str, topic: str) -> Iterator[Message[bytes, bytes]]:
    """All records of a topic, from the first to the last of this moment. Raises Unavailable."""
    # Its own log would go to standard error; what is wrong is raised below.
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "nobody", "log_level": 0})
    try:
        ends = _ends(consumer, topic)
        consumer.assign([TopicPartition(topic, one, first) for one, (first, _) in ends.items()])
        left = {one: end for one, (first, end) in ends.items() if end > first}
        heard = time.monotonic()
        while left:
            found = consumer.consume(_RECORDS, _WAIT_S)
            heard = time.monotonic() if found else heard
            if time.monotonic() - heard > _SILENCE_S:
                raise Unavailable("kafka", f"no more of {topic}, but {left} should be there")
            for one in found:
                partition, offset = one.partition() or 0, one.offset() or 0
                if (error := one.error()) is not None:
                    raise Unavailable("kafka", str(error))
                if offset < ends[partition][1]:
                    yield one
                if offset >= ends[partition][1] - 1:
                    left.pop(partition, None)
    except KafkaException as error:
        raise Unavailable("kafka", str(error)) from error
    finally:
        consumer.close()


def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First offset and end of each partition."""
    partitions = consumer.list_topics(topic, _SILENCE_S).topics[topic].partitions
    return {
        one: consumer.get_watermark_offsets(TopicPartition(topic, one), _SILENCE_S)
        for one in partitions
    }
