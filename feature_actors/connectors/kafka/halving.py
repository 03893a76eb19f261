"""Batches that a broker refuses, written again in halves: only what it never takes is left."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiokafka
from aiokafka.errors import KafkaError

from freshrank.feature_actors.connectors.kafka.answers import (
    Answer,
    Record,
    failure_of,
    not_connected,
    place_after,
)


async def write_halves(
    producer: aiokafka.AIOKafkaProducer | None,
    partition: tuple[str, int],
    places: Sequence[int],
    records: Sequence[Record],
    found: list[Answer],
) -> None:
    """Write the records at these places to a partition of a topic; put the answers in `found`.

    A batch that is refused is written as two: the first half, then the second one. `producer`
    numbers no records, or all behind a refused batch would be out of order for the broker.
    """
    answer = await _write_batch(producer, partition, [records[place] for place in places])
    if answer is None:
        middle = len(places) // 2
        for half in (places[:middle], places[middle:]):
            await write_halves(producer, partition, half, records, found)
        return
    for number, place in enumerate(places):
        found[place] = place_after(answer, number)


async def _write_batch(
    producer: aiokafka.AIOKafkaProducer | None,
    partition: tuple[str, int],
    records: Sequence[Record],
) -> Answer | None:
    """Write records in a batch of their own, which those of other batches cannot harm.

    Gives the place of the first of them, or why none is written; None where the batch is to be
    halved.
    """
    if producer is None:
        return not_connected()
    topic, at = partition
    batch = producer.create_batch()
    for one in records:
        if not batch.append(timestamp=None, key=one.key, value=one.value, headers=one.headers):
            return None
    batch.close()
    try:
        written = await producer.send_batch(batch, topic, partition=at)
        # Shielded: the client itself sets the result of what it gave away.
        safe = await asyncio.shield(written)
    except (KafkaError, OSError) as error:
        if len(records) > 1 and isinstance(error, KafkaError) and not error.retriable:
            return None
        return failure_of(topic, records[0].value, error)
    return safe.partition, safe.offset
