"""The demo's pipeline: predict which of the shown items a shopper will click.

    freshrank run examples/recommend.py

To make it yours, copy this file and change four things:

1. `Behaviour`: the fields of your topic's records.
2. `user` and `behaviour`: the entity that features describe, and the topic.
3. `Activity`: the features of a user.
4. `pipeline`: the label, the model and what a request brings.

The generated shoppers of the demo change what they want within a minute, so windows and half-lives
are short here; a real shop would take hours and days.
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
    """A record of the topic, as JSON. Fields of the JSON that are not listed are ignored."""

    event_id: str
    user_id: str
    item_id: int
    category_id: int
    type: str
    """``view``, ``click``, ``cart`` or ``order``."""
    price: float
    ts: int
    """Event time in ms since the Unix epoch."""


# The topic's records are keyed by the user, so all of a user's events are in one partition.
user = Entity("user", key="user_id")
behaviour = Stream("behaviour", id="event_id", time="ts", key=user, schema=Behaviour)


class Activity(FeatureView):
    """What a shopper did lately, and what they are looking for."""

    entity, source = user, behaviour
    # One feature for each window: views_1m, views_5m, views_1h.
    views = Count(where=col.type == "view", windows=["1m", "5m", "1h"])
    clicks = Count(where=col.type == "click", windows=["1m", "5m", "1h"])
    spend = Sum("price", where=col.type == "order", windows=["1h", "7d"])
    # Events per category, each halved every 20 s. As the category is a context field too (below),
    # the model also gets the count of the candidate's own category: the shopper's interest in it.
    interest = DecayedCount(by="category_id", half_life="20s", top=8)
    recent = LastK("item_id", k=5)
    idle = TimeSince()


pipeline = Pipeline(
    "recommend",
    stream=behaviour,
    features=[Activity],
    # A request to score names a user and candidates; each candidate brings these fields.
    context=["item_id", "category_id"],
    # A shown item is positive if its click comes within 3 s, else negative after 1 s more.
    label=Joined(positive=col.type == "click", on="item_id", within="3s", grace="1s"),
    model=LogisticRegression(),
    optimizer=Adagrad(0.05),
    # What the web page offers as input; the generated shop has items of 20 categories in turn.
    samples={
        "entities": [f"u{number:05d}" for number in (7, 42, 300, 1234)],
        "candidates": [{"item_id": n, "category_id": (n - 1) % 20 + 1} for n in range(1, 13)],
        "choices": {"type": ["view", "click", "cart", "order"]},
    },
)
