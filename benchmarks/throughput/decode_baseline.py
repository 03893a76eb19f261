"""The yardstick of `ingest`: read the topic and decode it, and do nothing with it.

Nobody who consumes Kafka with aiokafka and decodes JSON in Python is faster than this. Runs in a
process of its own, as the shard does::

    python -m freshrank.benchmarks.throughput.decode_baseline BOOTSTRAP TOPIC PARTITIONS COUNT

prints the seconds that it took.
"""

from __future__ import annotations

import sys
import time

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from freshrank.examples.shop.shoppers import ShopEvent


async def read_and_decode(bootstrap: str, topic: str, partitions: int, count: int) -> float:
    """Seconds from the first fetch until `count` records are decoded, one partition or many.

    `getmany` gives at most 20,000 records at once, as the shard asks for.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, one) for one in range(partitions)])
        decode = msgspec.json.Decoder(ShopEvent).decode
        started = time.perf_counter()
        done = 0
        while done < count:
            for records in (await consumer.getmany(timeout_ms=1_000, max_records=20_000)).values():
                done += len([decode(record.value) for record in records if record.value])
        return time.perf_counter() - started
    finally:
        await consumer.stop()


def main() -> None:
    """Read the arguments, run, print."""
    bootstrap, topic, partitions, count = sys.argv[1:]
    print(uvloop.run(read_and_decode(bootstrap, topic, int(partitions), int(count))))


if __name__ == "__main__":
    main()
