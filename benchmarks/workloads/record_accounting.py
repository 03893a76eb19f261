"""The pipeline that odd records are sent to, and the accounts that have to add up.

Its features all forget, so that an event can come too late for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, TypeAlias

import msgspec

from freshrank.actors.messages import RejectedRecord
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.labels.definitions import Joined
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.feature_view import (
    Count,
    DecayedCount,
    FeatureView,
    Mean,
    Sum,
    col,
)
from freshrank.learner.models.logistic_regression import LogisticRegression
from freshrank.learner.optimizers.adagrad import Adagrad


class Fate(Enum):
    """What becomes of a record."""

    TAKEN = "taken"
    DUPLICATE = "duplicate"
    LATE = "late"
    DEAD = "dead"
    OPEN = "open"
    """Damaged at random: any of them, but one of them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One record on its way to a topic."""

    what: str
    key: bytes | None
    """None: any partition."""
    value: bytes | None
    fate: Fate


class Reading(msgspec.Struct):
    """One field of each type that a schema may have."""

    event_id: str
    user_id: str
    item_id: int
    kind: Literal["view", "click", "order"]
    price: float
    ts: int
    rank: int | None = None
    gift: bool = False
    tags: list[str] = []


def pipeline(name: str = "fuzz", topic: str = "readings") -> Pipeline:
    """A pipeline whose features all forget, so that an event can come too late for them."""
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


Place: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of a record."""


def unaccounted(
    sent: Mapping[Place, Sent],
    totals: Mapping[str, int],
    rejected: Sequence[tuple[str, RejectedRecord]],
) -> list[str]:
    """What does not add up, a line each.

    `totals` are the counters over all partitions; `rejected` holds the records of the side topics,
    each with the topic that it was found in.
    """
    problems: list[str] = []
    found: dict[Place, tuple[str, RejectedRecord]] = {}
    for topic, record in rejected:
        place = (record.topic, record.partition, record.offset)
        if place in found or place not in sent:
            problems.append(f"{place} is in {topic} and was not sent, or is there twice")
        found[place] = (topic, record)
    for place, one in sent.items():
        problem = _problem(one, place, found.get(place))
        if problem:
            problems.append(f"{one.what}: {problem}")
    counted = sum(totals[name] for name in ("events", "duplicates", "late", "dead", "impressions"))
    if counted != len(sent):
        problems.append(f"{len(sent)} records were sent, {counted} are counted")
    if totals["dead"] + totals["late"] != len(found):
        problems.append(f"{len(found)} are in the side topics, {totals} are counted")
    again = sum(one.fate is Fate.DUPLICATE for one in sent.values())
    if totals["duplicates"] < again:
        problems.append(f"{again} were sent twice, {totals['duplicates']} are counted")
    return problems


def _problem(one: Sent, place: Place, found: tuple[str, RejectedRecord] | None) -> str | None:
    """Why the record of `place` is not where it belongs, or not as it should be there."""
    wanted = {Fate.DEAD: f"{place[0]}.dead", Fate.LATE: f"{place[0]}.late"}.get(one.fate)
    if found is None:
        return f"it is not in {wanted}" if wanted else None
    topic, record = found
    if one.fate is not Fate.OPEN and topic != wanted:
        return f"it is in {topic}: {record.reason}"
    if not record.reason:
        return "it has no reason"
    if one.value is None or record.value is None:
        same = one.value is record.value
    else:  # what is too large for the side topic is cut there
        same = one.value.startswith(record.value) and bool(record.value or not one.value)
    return None if same else "its value is another"
