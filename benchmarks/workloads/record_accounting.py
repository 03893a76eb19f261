"""The pipeline of the fuzz bench, and the check that each of its records is accounted for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

import msgspec

from freshrank import (
    Adagrad,
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Mean,
    Pipeline,
    Stream,
    Sum,
    col,
)
from freshrank.actors.records import RejectedRecord

RecordPosition: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of a record."""

# Counters of a shard of which each record raises exactly one.
_DISPOSITIONS = (
    "events",
    "duplicates",
    "late",
    "dead",
    "forgotten",
    "forgotten_unknown",
    "impressions",
    "impressions_outage",
    "impressions_repeated",
)


class Disposition(Enum):
    """What a shard does with a record."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    LATE = "late"
    DEAD = "dead"
    OPEN = "open"
    """Damaged at random: exactly one of the others, which one is not known beforehand."""


@dataclass(frozen=True, slots=True)
class SentRecord:
    """A record of the corpus, and its disposition by the stated rules."""

    description: str
    key: bytes | None
    """None: any partition."""
    value: bytes | None
    disposition: Disposition


class Reading(msgspec.Struct):
    """An event with a field of each type that a schema may have."""

    event_id: str
    user_id: str
    item_id: int
    kind: Literal["view", "click", "order"]
    price: float
    ts: int
    rank: int | None = None
    gift: bool = False
    tags: list[str] = []


def fuzz_pipeline(name: str = "fuzz", topic: str = "readings") -> Pipeline:
    """Return a pipeline whose features all forget, so that an event can be too late for them."""
    user = Entity("user", key="user_id")
    readings = Stream(topic, id="event_id", time="ts", key=user, schema=Reading)

    class Windows(FeatureView):
        entity, source = user, readings
        views = Count(where=col.kind == "view", windows=["1m", "1h"])
        spend = Sum("price", windows=["1h"])
        price = Mean("price", windows=["1m"])
        interest = DecayedCount(by="item_id", half_life="1m", top=4)

    return Pipeline(
        name,
        stream=readings,
        features=[Windows],
        context=["item_id", "price"],
        label=Joined(positive=col.kind == "click", on="item_id", within="3s", grace="1s"),
        model=LogisticRegression(),
        optimizer=Adagrad(0.1),
    )


def unaccounted(
    sent: Mapping[RecordPosition, SentRecord],
    totals: Mapping[str, int],
    rejected: Sequence[tuple[str, RejectedRecord]],
) -> list[str]:
    """Return a line for each record, and each sum, that contradicts the dispositions of `sent`.

    Parameters
    ----------
    sent
        Every record of the log, by its position.
    totals
        The counters of the shards, summed over all partitions.
    rejected
        The records of the side topics, each with the topic that it was found in.
    """
    problems: list[str] = []
    found: dict[RecordPosition, tuple[str, RejectedRecord]] = {}
    for topic, record in rejected:
        position = (record.topic, record.partition, record.offset)
        if position in found or position not in sent:
            problems.append(f"{position} is in {topic} and was not sent, or is there twice")
        found[position] = (topic, record)
    for position, record_sent in sent.items():
        problem = _problem(record_sent, position, found.get(position))
        if problem:
            problems.append(f"{record_sent.description}: {problem}")
    counted = sum(totals[name] for name in _DISPOSITIONS)
    if counted != len(sent):
        problems.append(f"{len(sent)} records were sent, {counted} are counted")
    if totals["dead"] + totals["late"] != len(found):
        problems.append(f"{len(found)} are in the side topics, {totals} are counted")
    duplicates = sum(record.disposition is Disposition.DUPLICATE for record in sent.values())
    if totals["duplicates"] < duplicates:
        problems.append(f"{duplicates} were sent twice, {totals['duplicates']} are counted")
    return problems


def _problem(
    sent: SentRecord, position: RecordPosition, found: tuple[str, RejectedRecord] | None
) -> str | None:
    """Return how the record at `position` contradicts its disposition; None when it does not."""
    topic = position[0]
    wanted = {Disposition.DEAD: f"{topic}.dead", Disposition.LATE: f"{topic}.late"}.get(
        sent.disposition
    )
    if found is None:
        return f"it is not in {wanted}" if wanted else None
    side_topic, record = found
    if sent.disposition is not Disposition.OPEN and side_topic != wanted:
        return f"it is in {side_topic}: {record.reason}"
    if not record.reason:
        return "it has no reason"
    if sent.value is None or record.value is None:
        same = sent.value is record.value
    else:  # a value that is too large for the side topic is cut there
        same = sent.value.startswith(record.value) and bool(record.value or not sent.value)
    return None if same else "its value is another"
