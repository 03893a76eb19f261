"""Pipeline and recorded stream of the simulation: small, with all that may go wrong in it."""

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np

from freshrank.actors.impressions import Impression, encode_impression
from freshrank.actors.kernels.hashing import hash_ints
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.feature_actors.aggregations.decayed_count import DecayedCount
from freshrank.feature_actors.aggregations.windowed import Count, Sum
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.labels.definitions import Joined
from freshrank.feature_actors.streams.expressions import col
from freshrank.feature_actors.streams.stream import Entity, Stream
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.learner.models.deepfm import DeepFM
from freshrank.learner.optimizers.adagrad import Adagrad

# The second shard owns one partition, the first two: neither is like the other.
PARTITIONS = 3
START_MS = 1_700_000_000_000
# Of the stream. Labels come within 10 s, so most examples are learned on the way.
SECONDS = 18
ITEMS = 4
USERS = 4
"""Of a partition."""
# Older than what any aggregate remembers.
_LATE_MS = 3 * 3_600_000
# A record is logged so much later than its event happened, at most.
_DELAY_MS = 3_000


class RecordedEvent(msgspec.Struct):
    """Of a shop."""

    id: str
    user: str
    item: int
    kind: str
    price: float
    ts: int


user = Entity("user", key="user")
stream = Stream("behaviour", id="id", time="ts", key=user, schema=RecordedEvent)


class ShortTermActivity(FeatureView):
    """Nothing that is remembered for ever, so that an event can be too late."""

    entity, source = user, stream
    views = Count(where=col.kind == "view", windows=["1m"])
    spent = Sum("price", where=col.kind == "order", windows=["1h"])
    interest = DecayedCount(by="item", half_life="1m", top=2)


@cache
def shop() -> Pipeline:
    """Dense weights and a keyed table, learned from what was served."""
    return Pipeline(
        "crashes",
        stream=stream,
        features=[ShortTermActivity],
        context=["item"],
        label=Joined(positive=col.kind == "order", on="item", within="8s", grace="2s"),
        model=DeepFM(embedding_dim=2, hidden=(4,)),
        optimizer=Adagrad(0.1),
    )


def recorded(pipeline: Pipeline, seconds: int = SECONDS, seed: int = 1) -> MemoryLog:
    """The stream: events and impressions, some of them twice, broken, late or out of order."""
    random = np.random.default_rng(seed)
    log = MemoryLog(PARTITIONS)
    number = 0
    for second in range(seconds):
        # Of different lengths, so that the last turns are those of one partition.
        for partition in range(PARTITIONS - (second >= seconds - 4)):
            stamp_ms = START_MS + second * 1000 + _DELAY_MS
            for record in _events(random, partition, second, number):
                log.append(stream.topic, partition, record, stamp_ms)
            if random.random() < 0.6:
                shown = _impression(pipeline, random, partition, second, number)
                log.append(pipeline.impressions_topic, partition, shown, stamp_ms)
            if random.random() < 0.05:
                log.append(pipeline.impressions_topic, partition, b"no impression", stamp_ms)
            number += 1
    return log


def _events(random: np.random.Generator, partition: int, second: int, number: int) -> list[bytes]:
    """What one user does in one second, and what becomes of it on the way."""
    kind = "order" if random.random() < 0.4 else "view"
    at_ms = START_MS + second * 1000 + int(random.integers(0, _DELAY_MS))
    late_ms = _LATE_MS if random.random() < 0.08 else 0
    item = int(random.integers(1, ITEMS + 1))
    event = RecordedEvent(f"e{number}", _user(random, partition), item, kind, 1.5, at_ms - late_ms)
    records = [msgspec.json.encode(event)]
    if random.random() < 0.15:
        records *= 2
    if random.random() < 0.1:
        records.append(b"{broken")
    return records


def _impression(
    pipeline: Pipeline, random: np.random.Generator, partition: int, second: int, number: int
) -> bytes:
    """Two items that were shown; the dense inputs tell all examples apart."""
    items = random.choice(np.arange(1, ITEMS + 1), size=2, replace=False)
    layout = pipeline.encoder.layout
    dense = np.zeros((len(items), len(layout.dense)), dtype="<f4")
    dense[:, 0] = (number + np.arange(len(items)) / 2) / 1000
    ids = np.tile(items.astype("<i8").reshape(-1, 1), (1, layout.id_width))
    return encode_impression(
        Impression(
            request_id=f"r{number}",
            entity=_user(random, partition),
            at_ms=START_MS + second * 1000,
            version="1.0",
            layout=pipeline.encoder.fingerprint,
            join_keys=hash_ints(items.astype(np.int64)).astype("<i8").tobytes(),
            dense=dense.tobytes(),
            ids=ids.tobytes(),
        )
    )


def _user(random: np.random.Generator, partition: int) -> str:
    return f"u{partition}-{random.integers(USERS)}"
