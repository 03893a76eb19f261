"""Where the time of a probe went: the stamps of the topics that its event has passed.

The broker stamps the record of the event, and that of its copy, when it takes them; both are read
after the measurement, so that nothing of it costs time meanwhile. Stages are:

- ``log``: from just before the send until the broker has the event,
- ``copy``: until it has the copy, keyed by the entity, where the topic is copied,
- ``row``: until the last read of the online store that did not find the row yet,
- ``look``: until the end of the read that found it. The row came somewhere within: up to so much
  is of the probe itself, which other work of its process and of its machine holds up.

Stamps are whole milliseconds of the machine's clock, and so are stages; their sum is the latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from freshrank.actors.records import RecordBatch
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess
from freshrank.feature_actors.connectors.kafka.source import KafkaSource
from freshrank.feature_actors.connectors.kafka.topics import partition_count
from freshrank.feature_actors.streams.copies.origin import Copies

Place: TypeAlias = tuple[int, int]
"""Partition and offset of a record."""

# Records and seconds of a poll.
_RECORDS, _POLL_S = 20_000, 0.1


class Sighting(NamedTuple):
    """A probe whose row was found; times are those of the wall clock, in milliseconds."""

    place: Place
    """Of its event in the source topic."""
    began_ms: int
    missed_ms: int
    """When the last read began that did not find the row; `began_ms` where there was none."""
    found_ms: int


async def broker_stamps(
    kafka: KafkaAccess, topic: str, copies: str | None
) -> list[dict[Place, int]]:
    """When the broker has taken each record of `topic`, and its copy in the topic `copies`.

    Both in ms, by the place in `topic`. Raises Unavailable, ConfigError.
    """
    stamps = [_stamps_of_records(await _records(kafka, topic))]
    if copies is not None:
        stamps.append(stamps_of_copies(await _records(kafka, copies)))
    return stamps


def stamps_of_copies(batches: Iterable[RecordBatch]) -> dict[Place, int]:
    """By the place of what it copies: the stamp of each copy, of several the first."""
    found: dict[Place, int] = {}
    for batch in batches:
        copies = Copies.read(batch.values)
        partitions, offsets = copies.origins["partition"], copies.origins["offset"]
        stamps = batch.timestamps_ms[copies.places].tolist()
        for *place, at_ms in zip(partitions.tolist(), offsets.tolist(), stamps, strict=True):
            found.setdefault((place[0], place[1]), at_ms)
    return found


def stages(
    sightings: Sequence[Sighting], stamps: Sequence[Mapping[Place, int]]
) -> dict[str, list[float]]:
    """By stage: its milliseconds of each probe. `stamps` are those of `broker_stamps`."""
    names = ("log", "copy")[: len(stamps)]
    found: dict[str, list[float]] = {name: [] for name in (*names, "row", "look")}
    for one in sightings:
        before_ms = one.began_ms
        for name, by_place in zip(names, stamps, strict=True):
            found[name].append(float(by_place[one.place] - before_ms))
            before_ms = by_place[one.place]
        # A read may have begun before the record was there, and missed it.
        missed_ms = max(one.missed_ms, before_ms)
        found["row"].append(float(missed_ms - before_ms))
        found["look"].append(float(one.found_ms - missed_ms))
    return found


def _stamps_of_records(batches: Iterable[RecordBatch]) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for batch in batches:
        places = zip([batch.partition] * len(batch.values), batch.offsets.tolist(), strict=True)
        found.update(zip(places, batch.timestamps_ms.tolist(), strict=True))
    return found


async def _records(kafka: KafkaAccess, topic: str) -> list[RecordBatch]:
    """All records of a topic."""
    source, found = KafkaSource(kafka), list[RecordBatch]()
    partitions = range(await partition_count(kafka, topic))
    await source.start({(topic, partition): None for partition in partitions})
    try:
        while any((await source.lag()).values()):
            found += await source.poll(_RECORDS, _POLL_S)
    finally:
        await source.stop()
    return found
