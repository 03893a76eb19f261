"""A small shop with one of each thing that a state folder can hold."""

import msgspec

from freshrank import (
    FTRL,
    Count,
    DecayedCount,
    DeepFM,
    Entity,
    FeatureView,
    Joined,
    LastK,
    Mean,
    Pipeline,
    Stream,
    Sum,
    TimeSince,
    col,
)


class Event(msgspec.Struct):
    """What a user does to an item."""

    event_id: str
    user_id: str
    item_id: int
    category: str
    type: str
    price: float
    ts: int


user = Entity("user", key="user_id")
behaviour = Stream("kept-behaviour", id="event_id", time="ts", key=user, schema=Event)


class Activity(FeatureView):
    """What a user did lately, and as a rule."""

    entity, source = user, behaviour
    views = Count(where=col.type == "view", windows=["1m", "1h"])
    spend = Sum("price", where=col.type == "order", windows=["1h"])
    price = Mean("price", windows=["1h"])


class Taste(FeatureView):
    """What a user likes."""

    entity, source = user, behaviour
    recent = LastK("item_id", k=4)
    interest = DecayedCount(by="category", half_life="10m", top=3)
    idle = TimeSince()


pipeline = Pipeline(
    "kept",
    stream=behaviour,
    features=[Activity, Taste],
    context=["item_id", "category", "price"],
    crosses=[("user_id", "category")],
    label=Joined(positive=col.type == "order", on="item_id", within="30s", grace="2s"),
    model=DeepFM(embedding_dim=4, hidden=(8,)),
    optimizer=FTRL(0.1),
)
