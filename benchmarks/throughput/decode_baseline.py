"""The baseline of the ingest bench: read the topic, decode every record, and do nothing else.

A Python process that consumes Kafka with aiokafka and decodes JSON cannot be faster. It runs in a
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

# The most records of one `getmany`: as many as the shard asks for.
RECORDS = 20_000


async def read_and_decode(bootstrap: str, topic: str, partitions: int, count: int) -> float:
    """Return the seconds from the first fetch until `count` records are decoded."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
        decode = msgspec.json.Decoder(ShopEvent).decode
        started = time.perf_counter()
        done = 0
        while done < count:
            batches = await consumer.getmany(timeout_ms=1_000, max_records=RECORDS)
            for records in batches.values():
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
