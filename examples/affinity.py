"""The shop of `catalogue`, with what each shopper does with each category: a compound entity.

    freshrank run examples/affinity.py

A candidate gets the row of its shopper and its own category. The request names the shopper, and the
row of the item in the catalogue has the category, so that a request stays as short as before. A
row, of shopper u00007 and category 3::

    curl -s localhost:8000/v1/features/user_category/u00007:3

What it adds, on the same simulated traffic::

    python -m freshrank.examples.item_features
"""

from dataclasses import replace

from freshrank import Count, Entity, FeatureView, TimeSince, col
from freshrank.examples import catalogue
from freshrank.examples.recommend import behaviour

user_category = Entity("user_category", key=["user_id", "category_id"])


class Affinity(FeatureView):
    """What a shopper did with the items of a category lately."""

    entity, source = user_category, behaviour
    visits_of_category = Count(windows=["15s", "1m", "5m"])
    clicked_in_category = Count(where=col.type == "click", windows=["1m"])
    idle_in_category = TimeSince()


pipeline = replace(
    catalogue.pipeline,
    name="affinity",
    features=[*catalogue.pipeline.features, Affinity],
    missing=["idle_in_category"],
)
