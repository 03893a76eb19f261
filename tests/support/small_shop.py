"""A pipeline small enough to be understood at a glance, and records for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np

from freshrank import Count, DecayedCount, FeatureView, LastK, Sum, Table, TimeSince, col
from freshrank.actors.impressions import encode_impression
from freshrank.actors.records import RecordBatch
from freshrank.actors.snapshots.file_format import MadeFor
from freshrank.benchmarks.workloads.impressions import impression_of, without_scores
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.encoding.input_encoder import InputEncoder
from freshrank.feature_actors.labels.definitions import Joined, Labelled
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.settings import ShardSettings
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.plan import FeaturePlan

START_MS = 1_700_000_000_000
WITHIN_MS = 30_000
GRACE_MS = 2_000


class Event(msgspec.Struct):
    event_id: str
    user: str
    type: str
    item: int
    price: float
    ts: int


class Visit(msgspec.Struct):
    """What the second stream tells of a user."""

    visit_id: int
    user: str
    page: int
    seconds: float
    ts: int


user = Entity("user", key="user")
events = Stream("events", id="event_id", time="ts", key=user, schema=Event, dedup_within="10m")
visits = Stream("visits", id="visit_id", time="ts", key=user, schema=Visit, dedup_within="1m")


def activity(stream: Stream) -> type[FeatureView]:
    """A view of each kind of aggregate over `stream`."""

    class Activity(FeatureView):
        entity, source = user, stream
        views = Count(where=col.type == "view", windows=["1m"])
        spend = Sum("price", where=col.type == "order", windows=["1h"])
        interest = DecayedCount(by="item", half_life="10m", top=3)
        recent = LastK("item", k=2)
        idle = TimeSince()

    return Activity


def browsing(stream: Stream) -> type[FeatureView]:
    """Features of the second stream, none of which is kept for ever."""

    class Browsing(FeatureView):
        entity, source = user, stream
        pages = Count(windows=["1m"])
        seconds = Sum("seconds", windows=["1m"])
        favourite = DecayedCount(by="page", half_life="2s", top=2)

    return Browsing


def popularity(stream: Stream) -> type[FeatureView]:
    """Features of items, one of which reads the label late."""

    class Wanted(FeatureView):
        entity, source = Entity("item", key="item"), stream
        seen = Count(windows=["1m"])
        ordered = Count(where=col.type == "order", windows=["1m"], delay="20s")
        lately = LastK("user", k=2)

    return Wanted


def familiarity(stream: Stream) -> type[FeatureView]:
    """Features of pairs of user and item."""

    class Familiarity(FeatureView):
        entity, source = USER_ITEM, stream
        met = Count(windows=["lifetime"])
        prices = Sum("price", windows=["1m"])
        apart = TimeSince()

    return Familiarity


JOINED = Joined(positive=col.type == "order", on="item", within="30s", grace="2s")
LABELLED = Labelled(positive=col.type == "order")
LATER = Labelled(positive=col.type == "order", known_after="20s")


def spec(
    label: Joined | Labelled | None = JOINED,
    max_entities: int = 1_000,
    event_ids: int = 1_000,
    prefix: str = "",
    two_streams: bool = False,
    partitioner: str = "murmur2",
) -> PartitionSpec:
    """The small shop's definitions.

    Its topics are ``events``, ``visits`` with `two_streams`, and ``shown``, all after `prefix`.
    """
    stream = replace(events, topic=f"{prefix}events", partitioner=partitioner)
    views = [activity(stream)]
    if two_streams:
        views.append(browsing(replace(visits, topic=f"{prefix}visits")))
    plan = FeaturePlan(views)
    return PartitionSpec(
        plan=plan,
        encoder=InputEncoder([plan], stream, ["item"], []),
        label=label,
        impressions_topic=f"{prefix}shown" if isinstance(label, Joined) else None,
        made_for=MadeFor(f"shop {plan.fingerprint} {label!r}"),
        settings=ShardSettings(
            max_entities_per_partition=max_entities, max_event_ids_per_partition=event_ids
        ),
    )


def with_items_beside(made: PartitionSpec) -> PartitionSpec:
    """The same, whose examples have features of items, too."""
    return _with_rows_beside(made, popularity(made.stream))


def with_pairs_beside(made: PartitionSpec) -> PartitionSpec:
    """The same, whose examples have features of pairs of user and item, too."""
    return _with_rows_beside(made, familiarity(made.stream))


def _with_rows_beside(made: PartitionSpec, view: type[FeatureView]) -> PartitionSpec:
    others = FeaturePlan([view])
    encoder = InputEncoder([made.plan, others], made.stream, ["item"], [])
    return replace(made, encoder=encoder, beside=others.tables)


ITEM = Entity("item", key="item")
ITEM_KIND = Entity("item_kind", key=["item", "type"])
"""Of a key that no record has: it goes through copies."""
USER_ITEM = Entity("user_item", key=["user", "item"])
"""Owned by the user, whose partition has all events of it."""


def item_spec(
    partitioner: str = "any", entity: Entity = ITEM, source: Stream = events
) -> PartitionSpec:
    """Features of items over the events of users: of copies, or of a topic that is keyed so."""
    stream = source.keyed_by(entity)
    if partitioner != "any":
        own = stream.record_key if entity.compound else None
        stream = replace(stream, partitioner=partitioner, record_key=own)

    class Popularity(FeatureView):
        entity, source = stream.key, stream
        views = Count(where=col.type == "view", windows=["1m"])
        spend = Sum("price", where=col.type == "order", windows=["1h"])
        buyers = LastK("user", k=3)

    plan = FeaturePlan([Popularity])
    return PartitionSpec(
        plan=plan,
        encoder=InputEncoder([plan], stream, [], []),
        label=None,
        impressions_topic=None,
        made_for=MadeFor(f"items {plan.fingerprint} {stream.log_topic}"),
        settings=ShardSettings(max_entities_per_partition=1_000),
    )


class Product(msgspec.Struct):
    item: int
    category: str
    price: float | None = None


catalogue = Table("catalogue", key=Entity("item", key="item"), schema=Product)


def table_spec(max_entities: int = 1_000) -> PartitionSpec:
    """The rows of items that the topic ``catalogue`` gives, from which nothing is learned."""
    plan = FeaturePlan([], [catalogue])
    return PartitionSpec(
        plan=plan,
        encoder=InputEncoder([plan], catalogue, [], []),
        label=None,
        impressions_topic=None,
        made_for=MadeFor(plan.fingerprint),
        settings=ShardSettings(max_entities_per_partition=max_entities),
    )


def event(number: int, who: str, kind: str, item: int, at_ms: int) -> bytes:
    """An event as JSON, `at_ms` after the start."""
    return msgspec.json.encode(Event(f"e{number}", who, kind, item, 1.5 * item, START_MS + at_ms))


def visit(number: int, who: str, page: int, at_ms: int) -> bytes:
    """A visit as JSON, `at_ms` after the start."""
    return msgspec.json.encode(Visit(number, who, page, page / 4, START_MS + at_ms))


def impression(
    made: PartitionSpec,
    who: str,
    items: Sequence[int],
    at_ms: int,
    number: int = 0,
    *,
    scored: bool = False,
) -> bytes:
    """A logged answer that showed `items`; dense inputs tell number and rank apart.

    Unless it is `scored` it is one of a version before: an item has one example, when its label is
    known.
    """
    dense = np.zeros((len(items), len(made.encoder.layout.dense)), dtype=np.float32)
    dense[:, 0] = number
    dense[:, 1] = np.arange(len(items))
    shown_ms = START_MS + at_ms
    shown = impression_of(made.encoder, who, items, shown_ms, f"r{number}", dense)
    return encode_impression(shown if scored else without_scores(shown))


def packed(state: PartitionState) -> bytes:
    """The file of a snapshot taken at once."""
    snapshot = state.snapshot()
    assert snapshot.copy_rows(None)
    return b"".join(snapshot.pieces())


def batch(
    topic: str,
    values: Sequence[bytes | None],
    begin: int = 0,
    stamps_ms: Sequence[int] | None = None,
    partition: int = 0,
) -> RecordBatch:
    """Consecutive records from offset `begin`, stamped `stamps_ms` after the start (or far on)."""
    stamps = [10_000_000] * len(values) if stamps_ms is None else list(stamps_ms)
    times_ms = START_MS + np.array(stamps, dtype=np.int64)
    return consecutive_records(topic, partition, values, times_ms, begin)


def known(state: PartitionState) -> list[tuple[float, float]]:
    """(number of the impression, label) of the examples kept, in the order of the log."""
    examples = state.example_queue.peek()
    if examples is None:
        return []
    numbers = examples.inputs.dense[:, 0].tolist()
    return list(zip(numbers, examples.labels.tolist(), strict=True))
