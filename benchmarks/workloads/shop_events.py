"""What the benches feed the system with: generated shopping events, and a topic full of them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from freshrank.actors.errors import Unavailable
from freshrank.examples.shop.shoppers import ShopEvent

KINDS = ("view", "click", "cart", "order")
KIND_SHARES = (0.8, 0.12, 0.05, 0.03)
# Of the distribution of items over events: popularity falls with the rank's power.
ITEMS = 20_000
CATEGORIES = 100
# The events lie this far apart on average: a million of them within the last 17 minutes, as a
# shard finds them that was away for so long.
GAP_MS = 1
# Made at once: enough to draw random numbers in bulk, little enough to hold.
CHUNK = 50_000
# Seconds for the broker to take what is still queued.
FLUSH_TIMEOUT_S = 60.0


def shop_events(
    count: int, users: int, newest_ms: int, rng: np.random.Generator, run: str = "e"
) -> Iterator[tuple[bytes, bytes]]:
    """Key and JSON of `count` events in order of time, the last one at `newest_ms`.

    Every user comes as often as any other; items follow a power law. `run` begins each event's
    id: other events with the same ids would count as their duplicates.
    """
    encode = msgspec.json.Encoder().encode
    for begin in range(0, count, CHUNK):
        size = min(CHUNK, count - begin)
        who = rng.integers(0, users, size).tolist()
        items = (ITEMS * rng.random(size) ** 3).astype(np.int64).tolist()
        kinds = rng.choice(len(KINDS), size, p=KIND_SHARES).tolist()
        prices = rng.lognormal(3.0, 0.8, size).round(2).tolist()
        for at in range(size):
            user, item = f"u{who[at]:07d}", items[at] + 1
            event = ShopEvent(
                event_id=f"{run}{begin + at:09d}",
                user_id=user,
                item_id=item,
                category_id=item % CATEGORIES + 1,
                type=KINDS[kinds[at]],
                price=prices[at],
                ts=newest_ms - GAP_MS * (count - 1 - begin - at),
            )
            yield user.encode("ascii"), encode(event)


class TopicFiller:
    """Writes many records fast, to the partitions where the Java client would put them."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._failed = 0
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 50,
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 500_000,
                # A broker that is away would be told of on standard error, again and again; what
                # it does not take in the end is told by `finish`.
                "log_level": 0,
            }
        )

    def write(self, key: bytes, value: bytes) -> None:
        """Queue one record, waiting while the queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)

    def finish(self) -> None:
        """Wait until the broker has everything; raises Unavailable when it does not take it."""
        left = self._producer.flush(FLUSH_TIMEOUT_S)
        if left or self._failed:
            raise Unavailable("kafka", f"{left + self._failed} records were not written")

    def _delivered(self, error: KafkaError | None, _: Message[bytes, bytes]) -> None:
        self._failed += error is not None
