"""A shop of clicks and a catalogue, for tests of what the context of a candidate is made into."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from fake_clock import FakeClock

from freshrank import (
    Count,
    Entity,
    FeatureView,
    Joined,
    LogisticRegression,
    Pipeline,
    Stream,
    Table,
    col,
)
from freshrank.actors.impressions import Impression, ServedRows, decode_impression, served_rows
from freshrank.actors.protocols import JsonValue
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.wiring.local import LocalSystem, World
from freshrank.feature_actors.connectors.in_memory.log import MemoryLog
from freshrank.feature_actors.encoding.context_entries import DeclaredEntry
from freshrank.serve.explanation.explainer import Explainer

START_MS = 1_700_000_000_000


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    ts: int
    rank: int | None = None
    listed: float | None = None
    agent: str | None = None


class Product(msgspec.Struct):
    item: int
    published: int | None = None
    stock: int | None = None
    name: str = ""


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click)
catalogue = Table("catalogue", key=item, schema=Product)


class Seen(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["1h"])


def pipeline(*context: DeclaredEntry, **more: Any) -> Pipeline:
    """One with those entries in its context."""
    return Pipeline(
        "context",
        stream=clicks,
        features=[Seen],
        context=[*context],
        label=Joined(positive=col.kind == "order", on="item", within="1m"),
        model=LogisticRegression(),
        **more,
    )


async def started(
    made: Pipeline, products: Sequence[Product] = (), clock: FakeClock | None = None
) -> LocalSystem:
    """A system that has read `products`."""
    log = MemoryLog(1)
    log.distribute(
        catalogue.topic,
        [str(row.item).encode() for row in products],
        [msgspec.json.encode(row) for row in products],
        np.full(len(products), START_MS),
    )
    system = LocalSystem(made, Settings(), World(log, clock or FakeClock(START_MS)))
    await system.start()
    await system.drain()
    return system


async def shown(
    system: LocalSystem, candidates: Sequence[JsonValue], show: int | None = None
) -> tuple[Impression, ServedRows]:
    """What the impression of a request has, where the best `show` candidates, or all, are shown."""
    show = len(candidates) if show is None else show
    await system.score({"user": "ann", "candidates": [*candidates], "show": show})
    await asyncio.sleep(0)  # it is written after the answer
    topic, layout = system.pipeline.impressions_topic, system.pipeline.encoder.layout
    (value,) = system.world.log.read(topic, 0, 0, 9).values
    assert value is not None
    impression = decode_impression(value)
    return impression, served_rows(impression, len(layout.dense), layout.id_width)


async def explained(
    system: LocalSystem, candidates: Sequence[JsonValue]
) -> list[dict[str, JsonValue]]:
    """The values of the inputs of each candidate, as an explanation shows them."""
    body = msgspec.json.encode({"user": "ann", "candidates": candidates})
    answer = await Explainer(system.replica).explain(body)
    assert None not in answer.candidates
    return [
        {each.input: each.value for each in one.contributions}
        for one in answer.candidates
        if one is not None
    ]
