"""Generated shopping events as JSON records, and a fast writer that fills a topic with them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec
import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from freshrank.actors.errors import Unavailable
from freshrank.examples.shop.shoppers import ShopEvent

KINDS = ("view", "click", "cart", "order")
KIND_SHARES = (0.8, 0.12, 0.05, 0.03)
ITEMS = 20_000
CATEGORIES = 100
# Milliseconds between two events: a million of them span 17 minutes, as a shard finds them after an
# outage of that length.
GAP_MS = 1
# Events of a draw of random numbers: enough to draw in bulk, few enough to hold in memory.
CHUNK = 50_000
# A producer that missed which broker leads a partition, as while that starts again, would learn it
# after five minutes otherwise.
REFRESH_METADATA = {"topic.metadata.refresh.interval.ms": 5_000}
# Seconds within which the broker takes some of what is still queued, however busy the machine is.
FLUSH_TIMEOUT_S = 60.0
# Why a client that gave up a record has not written it.
_GIVEN_UP = KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT  # noqa: SLF001 - its public names


def user_name(number: int) -> str:
    """Return the id of the user with that number.

    >>> user_name(42)
    'u0000042'
    """
    return f"u{number:07d}"


def shop_events(
    count: int, users: int, newest_ms: int, rng: np.random.Generator, run: str = "e"
) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and JSON of `count` events, ordered by event time, the last at `newest_ms`.

    Users are drawn uniformly, items by `events_of`. `run` is a prefix of the event ids: two
    streams with the same prefix would be duplicates of each other.

    >>> records = list(shop_events(2, users=5, newest_ms=9_000, rng=np.random.default_rng(0)))
    >>> [msgspec.json.decode(value, type=ShopEvent).ts for _, value in records]
    [8999, 9000]
    """
    for begin in range(0, count, CHUNK):
        size = min(CHUNK, count - begin)
        users_of_chunk = rng.integers(0, users, size).tolist()
        first_ms = newest_ms - GAP_MS * (count - 1 - begin)
        times_ms = range(first_ms, first_ms + GAP_MS * size, GAP_MS)
        values = events_of(users_of_chunk, times_ms, rng, run, begin)
        for user, value in zip(users_of_chunk, values, strict=True):
            yield user_name(user).encode("ascii"), value


def events_of(
    users: Sequence[int], times_ms: Sequence[int], rng: np.random.Generator, run: str, first: int
) -> Iterator[bytes]:
    """Yield an event of each user as JSON; their ids are `run` and a number from `first` on.

    The popularity of items follows a power law: a tenth of them gets almost half of the events.
    """
    encode, size = msgspec.json.Encoder().encode, len(users)
    items = (ITEMS * rng.random(size) ** 3).astype(np.int64).tolist()
    kinds = rng.choice(len(KINDS), size, p=KIND_SHARES).tolist()
    prices = rng.lognormal(3.0, 0.8, size).round(2).tolist()
    for at, user in enumerate(users):
        item = items[at] + 1
        yield encode(
            ShopEvent(
                event_id=f"{run}{first + at:09d}",
                user_id=user_name(user),
                item_id=item,
                category_id=item % CATEGORIES + 1,
                type=KINDS[kinds[at]],
                price=prices[at],
                ts=times_ms[at],
            )
        )


class TopicFiller:
    """Writes many records fast, to the partitions where the Java client would put them.

    Records gather for `linger_ms` before they go out together.
    """

    def __init__(self, bootstrap: str, topic: str, linger_ms: int = 50) -> None:
        self._topic = topic
        self._failed = 0
        self.delivered = 0
        """Records that the broker has taken."""
        self._held: list[tuple[bytes, bytes | None, int]] = []
        """Key, value and time of the records that a client was made to give up."""
        self._config: dict[str, str | int] = {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": linger_ms,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000,
            # What is written again after a failure comes before what was queued after it: an event
            # whose record comes after later events has reached the log late, by the log's clock.
            "max.in.flight.requests.per.connection": 1,
            # While a broker is away the client would repeat that on standard error; `finish`
            # raises it once.
            "log_level": 0,
            # No record is given up by itself: `finish` gives to another client what this holds.
            "message.timeout.ms": 0,
            **REFRESH_METADATA,
        }
        self._producer = Producer(self._config)

    def write(self, key: bytes, value: bytes | None) -> None:
        """Queue a record of now, None: a tombstone; blocks while the queue is full."""
        self._write(key, value, None)

    def finish(self) -> None:
        """Wait until the broker has all records.

        Raises Unavailable when it refused a record, or takes no more of them.
        """
        left = self._flush()
        if left:
            self._write_by_another()
            left = self._flush()
        if left or self._failed:
            raise Unavailable("kafka", f"{left + self._failed} records were not written")

    def _flush(self) -> int:
        """How many records are left when the broker takes no more of them."""
        before, left = math.inf, self._producer.flush(FLUSH_TIMEOUT_S)
        while 0 < left < before:
            before, left = left, self._producer.flush(FLUSH_TIMEOUT_S)
        return left

    def _write_by_another(self) -> None:
        """Let another client write what this client holds.

        A client that got no leader when its broker came back may hold its records for ever
        (librdkafka, issue 4976). What was under way may be written twice.
        """
        self._producer.purge()
        self._producer.flush(FLUSH_TIMEOUT_S)
        held, self._held = self._held, []
        self._producer = Producer(self._config)
        for record in held:
            self._write(*record)

    def _write(self, key: bytes, value: bytes | None, stamp_ms: int | None) -> None:
        """Queue a record of that time, None: of when there is room for it."""
        while True:
            at_ms = stamp_ms or time.time_ns() // 1_000_000
            delivered = partial(self._delivered, at_ms)
            try:
                self._producer.produce(
                    self._topic, value, key, on_delivery=delivered, timestamp=at_ms
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def _delivered(
        self, at_ms: int, error: KafkaError | None, record: Message[bytes, bytes]
    ) -> None:
        if error is not None and error.code() in _GIVEN_UP:
            self._held.append((record.key() or b"", record.value(), at_ms))
            return
        self._failed += error is not None
        self.delivered += error is None
