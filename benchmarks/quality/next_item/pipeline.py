"""The pipeline that recommends in the bench: one for all data sets."""

from __future__ import annotations

import msgspec

from freshrank import (
    Count,
    CoVisited,
    DecayedCount,
    Entity,
    FeatureView,
    FollowedBy,
    Joined,
    LastK,
    LogisticRegression,
    Newest,
    Pipeline,
    Popular,
    Stream,
    Table,
    TimeSince,
    Touched,
    col,
)


class Event(msgspec.Struct):
    """A touch, as a record of the stream."""

    touch_id: str
    user: str
    item: int
    category: str
    kind: str
    at: int


class Product(msgspec.Struct):
    """A row of the catalogue."""

    item: int
    category: str


user, item = Entity("user", key="user"), Entity("item", key="item")
touches = Stream("touches", id="touch_id", time="at", key=user, schema=Event)
catalogue = Table("catalogue", key=item, schema=Product)


class Taste(FeatureView):
    """What a user touched lately."""

    entity, source = user, touches
    recent = LastK("item", k=20, repeats=False)
    interest = DecayedCount(by="category", half_life="7d", top=8)
    active = Count(windows=["1h", "1d"])
    idle = TimeSince()


class Audience(FeatureView):
    """Who touched an item lately, and how often it was touched."""

    entity, source = item, touches
    touched = Count(windows=["1d", "7d", "90d"])
    users = LastK("user", k=128, repeats=False, learned=False)


pipeline = Pipeline(
    "next-item",
    stream=touches,
    features=[Taste, Audience],
    tables=[catalogue],
    context=["item", catalogue.category],
    label=Joined(positive=col.kind != "", on="item", within="1m"),
    model=LogisticRegression(),
    candidates=[
        FollowedBy("users"),
        CoVisited("users"),
        Popular("touched_7d"),
        Popular("touched_90d"),
        Popular("touched_7d", per="category"),
        Newest(),
        Touched(),
    ],
)
