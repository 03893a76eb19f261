"""The demo's shop with a catalogue and with features of items: a request names items only.

    freshrank run examples/catalogue.py

The topic ``catalogue`` has a row for each item, as JSON, keyed by the item's id; a record without
a value deletes a row. A row of item 7, by a producer that places keys as Kafka's own client does
(librdkafka does not, unless told)::

    producer = confluent_kafka.Producer(
        {"bootstrap.servers": "broker:9092", "partitioner": "murmur2_random"}
    )
    producer.produce("catalogue", b'{"item_id": 7, "category_id": 3, "price": 9.5}', b"7")
    producer.flush()

How often an item was clicked lately is an input of the model, too: it tells
what all shoppers like at present, also of items that few weights know of yet.

With a catalogue, nobody has to name candidates: ``POST /v1/recommend`` with
``{"user": "u00007"}`` finds them by the sources of `pipeline`, ranks them by the model, and leaves
out what the user touched lately.

What both add, on the same simulated traffic::

    python -m freshrank.examples.item_features
"""

import msgspec

from freshrank import (
    Adagrad,
    Count,
    CoVisited,
    Entity,
    FeatureView,
    Joined,
    LastK,
    LogisticRegression,
    Newest,
    Pipeline,
    Popular,
    Table,
    col,
)
from freshrank.examples.recommend import Activity, behaviour


class Product(msgspec.Struct):
    """A row of the catalogue."""

    item_id: int
    category_id: int
    price: float


item = Entity("item", key="item_id")
catalogue = Table("catalogue", key=item, schema=Product)


class Popularity(FeatureView):
    """What all shoppers did with an item lately."""

    entity, source = item, behaviour
    clicked = Count(where=col.type == "click", windows=["1m", "5m"])
    carted = Count(where=(col.type == "cart") | (col.type == "order"), windows=["5m"])
    # Who touched it last: by it `CoVisited` finds what else they touched.
    shoppers = LastK("user_id", k=16, repeats=False, learned=False)


pipeline = Pipeline(
    "catalogue",
    stream=behaviour,
    tables=[catalogue],
    features=[Activity, Popularity],
    context=["item_id", catalogue.category_id, catalogue.price],
    label=Joined(positive=col.type == "click", on="item_id", within="3s", grace="1s"),
    model=LogisticRegression(),
    optimizer=Adagrad(0.05),
    # Where recommendations come from; the model ranks what they give.
    candidates=[
        CoVisited("shoppers"),
        Popular("clicked_5m"),
        Popular("clicked_5m", per="category_id"),
        Newest(),
    ],
    samples={
        "entities": [f"u{number:05d}" for number in (7, 42, 300, 1234)],
        "candidates": [{"item_id": number} for number in range(1, 13)],
        "choices": {"type": ["view", "click", "cart", "order"]},
    },
)
