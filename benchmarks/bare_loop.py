"""The yardstick of `ingest`: read the topic and decode it, and do nothing with it.

Nobody who consumes Kafka with aiokafka and decodes JSON in Python is faster than this.
"""

from __future__ import annotations

import time

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition


async def read_and_decode(
    bootstrap: str, topic: str, partitions: int, count: int, schema: type[msgspec.Struct]
) -> float:
    """Seconds from the first fetch until `count` records are decoded, one partition or many.

    `getmany` gives at most 20,000 records at once, as the shard asks for.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, one) for one in range(partitions)])
        decode = msgspec.json.Decoder(schema).decode
        started = time.perf_counter()
        done = 0
        while done < count:
            for records in (await consumer.getmany(timeout_ms=1_000, max_records=20_000)).values():
                done += len([decode(record.value) for record in records if record.value])
        return time.perf_counter() - started
    finally:
        await consumer.stop()
