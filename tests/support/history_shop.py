"""A shop with two streams, a catalogue, and features of users, of items and of both."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from freshrank import (
    Count,
    DecayedCount,
    Entity,
    FeatureView,
    Joined,
    LastK,
    LogisticRegression,
    Pipeline,
    Stream,
    Sum,
    Table,
    TimeSince,
    Tumbling,
    col,
)

START_MS = 1_700_000_000_000


class Click(msgspec.Struct):
    id: str
    user: str
    item: int
    kind: str
    ts: int


class Visit(msgspec.Struct):
    number: int
    visitor: str
    seconds: float
    at: int


class Product(msgspec.Struct):
    item: int
    brand: str
    price: float | None = None


user, item = Entity("user", key="user"), Entity("item", key="item")
clicks = Stream("clicks", id="id", time="ts", key=user, schema=Click, dedup_within="20s")
visits = Stream(
    "visits",
    id="number",
    time="at",
    key=Entity("user", key="visitor"),
    schema=Visit,
    dedup_within="20s",
)
catalogue = Table("catalogue", key=item, schema=Product)


class Clicking(FeatureView):
    entity, source = user, clicks
    seen = Count(windows=["10s", "1m", "lifetime"])
    interest = DecayedCount(by="item", half_life="10s", top=2)
    recent = LastK("kind", k=2)
    idle = TimeSince()


class Visiting(FeatureView):
    entity, source = visits.key, visits
    stayed = Sum("seconds", windows=["1m", Tumbling("10s"), Tumbling("10s", previous=True)])


class Popularity(FeatureView):
    entity, source = item, clicks
    views = Count(where=col.kind == "view", windows=["10s"])
    buyers = LastK("user", k=2)


PIPELINE = Pipeline(
    "shop",
    streams=[clicks, visits],
    features=[Clicking, Visiting, Popularity],
    tables=[catalogue],
    context=["item", catalogue.price],
    label=Joined(positive=col.kind == "order", on="item", within="1m"),
    model=LogisticRegression(),
)


class Affinity(FeatureView):
    entity, source = Entity("user_item", key=["user", "item"]), clicks
    tried = Count(where=col.kind == "view", windows=["10s"])
    tried_as = LastK("kind", k=2)


class Kinds(FeatureView):
    entity, source = Entity("item_kind", key=["item", "kind"]), clicks
    happened = Count(windows=["10s"])
    doers = LastK("user", k=2)


# With compound entities: of the user, and of a key that no record has.
COMPOUND = replace(
    PIPELINE,
    features=[Clicking, Visiting, Popularity, Affinity, Kinds],
    context=["item", "kind", catalogue.price],
)
