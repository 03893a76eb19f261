"""The demo's pipeline: which of the items that are shown will this shopper click.

Copy it, put your topic's fields into the schema, say what describes a user, and run it with
`freshrank run FILE`.

What the generated shoppers do moves within a minute, so windows and half-lives here are short;
a real shop would take hours and days.
"""

import msgspec

from freshrank import (
    Adagrad,
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
    TimeSince,
    col,
)


class Behaviour(msgspec.Struct):
    """One record of the topic, as JSON."""

    event_id: str
    user_id: str
    item_id: int
    category_id: int
    type: str
    """``view``, ``click``, ``cart`` or ``order``."""
    price: float
    ts: int
    """Event time, ms since the Unix epoch."""


user = Entity("user", key="user_id")
behaviour = Stream("behaviour", id="event_id", time="ts", key=user, schema=Behaviour)


class Activity(FeatureView):
    """What a shopper did lately, and what they are after."""

    entity, source = user, behaviour
    views = Count(where=col.type == "view", windows=["1m", "5m", "1h"])
    clicks = Count(where=col.type == "click", windows=["1m", "5m", "1h"])
    spend = Sum("price", where=col.type == "order", windows=["1h", "7d"])
    # Read against a candidate's own category, this is how much the shopper is after it now.
    interest = DecayedCount(by="category_id", half_life="20s", top=8)
    recent = LastK("item_id", k=5)
    idle = TimeSince()


pipeline = Pipeline(
    "recommend",
    stream=behaviour,
    features=[Activity],
    # The score is of a user together with one candidate, which brings these fields.
    context=["item_id", "category_id"],
    # An item that was shown counts as clicked if its click comes within these seconds.
    label=Joined(positive=col.type == "click", on="item_id", within="3s", grace="1s"),
    model=LogisticRegression(),
    # Steps are large, because tastes here drift within a minute.
    optimizer=Adagrad(0.3),
    # For the page: whom and what to try. The generated shop puts item n into category n mod 20.
    samples={
        "entities": [f"u{number:05d}" for number in (7, 42, 300, 1234)],
        "candidates": [{"item_id": n, "category_id": (n - 1) % 20 + 1} for n in range(1, 13)],
        "choices": {"type": ["view", "click", "cart", "order"]},
    },
)
