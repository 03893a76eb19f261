"""Pipeline and recorded log of the simulation: short, with every irregularity of a log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import msgspec
import numpy as np

from freshrank import (
    Adagrad,
    Count,
    DecayedCount,
    DeepFM,
    Entity,
    FeatureView,
    Joined,
    Max,
    Pipeline,
    Stream,
    Sum,
    Tumbling,
    col,
)
from freshrank.actors.impressions import encode_impression
from freshrank.actors.kernels.hashing import hash_texts
from freshrank.actors.kernels.partitioner import partition_of
from freshrank.benchmarks.workloads.impressions import impression_of, without_scores
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.encoding.input_ids import plain_ids

# The first of two shards owns two partitions, the second one: the shards differ.
PARTITIONS = 3
START_MS = 1_700_000_000_000
# Seconds of the log. Labels come within 10 s, so most examples are learned before its end.
SECONDS = 18
ITEMS = 4
USERS = 4
"""Users of each partition."""
# How far a late event lies in the past: longer than any aggregate remembers.
_LATE_MS = 3 * 3_600_000
# The longest time between an event and its record in the log.
_DELAY_MS = 3_000


class BasketLine(msgspec.Struct):
    """One of the things that an event is about, beside its item."""

    item: int
    price: float


class RecordedEvent(msgspec.Struct):
    """An event of the log."""

    id: str
    user: str
    item: int
    kind: str
    price: float
    ts: int
    basket: list[BasketLine] = []


class RecordedVisit(msgspec.Struct):
    """An event of a second stream, which only `changed_pipeline` reads."""

    id: int
    user: str
    page: int
    ts: int


user = Entity("user", key="user")
stream = Stream("behaviour", id="id", time="ts", key=user, schema=RecordedEvent)
visits = Stream("visits", id="id", time="ts", key=user, schema=RecordedVisit)


class ShortTermActivity(FeatureView):
    """Features that all forget, so that an event can be too late for them."""

    entity, source = user, stream
    views = Count(where=col.kind == "view", windows=["1m"])
    spent = Sum("price", where=col.kind == "order", windows=["1h"])
    interest = DecayedCount(by="item", half_life="1m", top=2)
    basket = Sum("basket.price", windows=["1h", Tumbling("1m")])
    beside = DecayedCount(by="basket.item", half_life="1m", top=2)


class OtherActivity(FeatureView):
    """Some features of `ShortTermActivity`, and others."""

    entity, source = user, stream
    views = Count(where=col.kind == "view", windows=["1m"])
    interest = DecayedCount(by="item", half_life="1m", top=2)
    dearest = Max("price", windows=["1h"])
    spent = Sum("price", where=col.kind == "order", windows=["1h"])


class Browsing(FeatureView):
    """Features of the second stream."""

    entity, source = user, visits
    pages = Count(windows=["1m"])
    favourite = DecayedCount(by="page", half_life="1m", top=2)


@cache
def recorded_pipeline() -> Pipeline:
    """Return a pipeline whose model has dense weights and a keyed table, with joined labels."""
    return Pipeline(
        "crashes",
        stream=stream,
        features=[ShortTermActivity],
        context=["item"],
        label=Joined(positive=col.kind == "order", on="item", within="8s", grace="2s"),
        model=DeepFM(embedding_dim=2, hidden=(4,)),
        optimizer=Adagrad(0.1),
    )


@cache
def changed_pipeline() -> Pipeline:
    """Return the same with another stream, other features and a cross."""
    return replace(
        recorded_pipeline(),
        streams=[stream, visits],
        features=[OtherActivity, Browsing],
        crosses=[("user", "item")],
    )


def recorded_log(
    pipeline: Pipeline, seconds: int = SECONDS, seed: int = 1, then: Pipeline | None = None
) -> MemoryLog:
    """Return a log of events and impressions; some are duplicated, broken, late or out of order.

    Users are forgotten now and then, and come back. There are visits where `pipeline` or the one
    that reads the log `then` takes them.
    """
    random = np.random.default_rng(seed)
    log = MemoryLog(PARTITIONS)
    visited = visits.topic in (*pipeline.topics, *(then.topics if then else ()))
    number = 0
    for second in range(seconds):
        # The last partition ends early, so that the last steps are those of the others.
        for partition in range(PARTITIONS - (second >= seconds - 4)):
            stamp_ms = START_MS + second * 1000 + _DELAY_MS
            for record in _events(random, partition, second, number):
                log.append(stream.topic, partition, record, stamp_ms)
            if random.random() < 0.6:
                shown = _impression(pipeline, random, partition, second, number)
                log.append(pipeline.impressions_topic, partition, shown, stamp_ms)
            if random.random() < 0.05:
                log.append(pipeline.impressions_topic, partition, b"no impression", stamp_ms)
            if number % 11 == 7:
                gone = users_of(partition, PARTITIONS, USERS)[number % USERS]
                log.append(stream.topic, partition, None, stamp_ms, gone.encode())
            if visited and number % 3:
                log.append(visits.topic, partition, _visit(partition, second, number), stamp_ms)
            number += 1
    return log


def _events(random: np.random.Generator, partition: int, second: int, number: int) -> list[bytes]:
    """Return the records of an event: one or two of it, and sometimes a broken one."""
    kind = "order" if random.random() < 0.4 else "view"
    at_ms = START_MS + second * 1000 + int(random.integers(0, _DELAY_MS))
    late_ms = _LATE_MS if random.random() < 0.08 else 0
    item = int(random.integers(1, ITEMS + 1))
    basket = [BasketLine(1 + one, 0.5 + one) for one in range(number % 4)]
    event = RecordedEvent(
        f"e{number}", _user(random, partition), item, kind, 1.5, at_ms - late_ms, basket
    )
    records = [msgspec.json.encode(event)]
    if random.random() < 0.15:
        records *= 2
    if random.random() < 0.1:
        records.append(b"{broken")
    return records


def _visit(partition: int, second: int, number: int) -> bytes:
    who = users_of(partition, PARTITIONS, USERS)[number % USERS]
    return msgspec.json.encode(
        RecordedVisit(number, who, number % 5, START_MS + second * 1000 + number % 7)
    )


def _impression(
    pipeline: Pipeline, random: np.random.Generator, partition: int, second: int, number: int
) -> bytes:
    """Return an impression of two items; its dense inputs differ from those of all others.

    The user's id is the first of its id inputs. Every fourth impression is one of a version before,
    as while replicas are replaced.
    """
    items = random.choice(np.arange(1, ITEMS + 1), size=2, replace=False).tolist()
    dense = np.zeros((len(items), len(pipeline.encoder.layout.dense)), dtype=np.float32)
    dense[:, 0] = (number + np.arange(len(items)) / 2) / 1000
    entity, at_ms = _user(random, partition), START_MS + second * 1000
    shown = impression_of(pipeline.encoder, entity, items, at_ms, f"r{number}", dense)
    ids = np.frombuffer(shown.ids, dtype="<i8").reshape(len(items), -1).copy()
    ids[:, 0] = plain_ids(user.key, hash_texts([entity]))
    shown = msgspec.structs.replace(shown, ids=ids.tobytes())
    return encode_impression(shown if number % 4 else without_scores(shown))


def _user(random: np.random.Generator, partition: int) -> str:
    return users_of(partition, PARTITIONS, USERS)[int(random.integers(USERS))]


@cache
def users_of(partition: int, partitions: int, count: int) -> Sequence[str]:
    """Return the ids of `count` users that belong to a partition.

    >>> users_of(1, 2, 3)
    ('u1-3', 'u1-7', 'u1-10')
    """
    names = (f"u{partition}-{number}" for number in itertools.count())
    mine = (name for name in names if partition_of(name.encode(), partitions) == partition)
    return tuple(itertools.islice(mine, count))
