"""The shop of `catalogue`, with what each shopper does with each category: a compound entity.

    freshrank run examples/affinity.py

A candidate gets the row of its shopper and its own category. The request names the shopper, and the
row of the item in the catalogue has the category, so that a request stays as short as before. A
row, of shopper u00007 and category 3::

    curl -s localhost:8000/v1/features/user_category/u00007:3

`catalogue` has a bag for that, of decayed counts of the categories; here pairs are in its place,
since they may have any aggregate. What they add, on the same simulated traffic::

    python -m freshrank.examples.item_features
"""

from dataclasses import replace

from freshrank import Count, Entity, FeatureView, LastK, Sum, TimeSince, col
from freshrank.examples import catalogue
from freshrank.examples.recommend import behaviour, user

user_category = Entity("user_category", key=["user_id", "category_id"])


class Habits(FeatureView):
    """What a shopper did lately, whatever the category."""

    entity, source = user, behaviour
    views = Count(where=col.type == "view", windows=["1m", "5m", "1h"])
    clicks = Count(where=col.type == "click", windows=["1m", "5m", "1h"])
    spend = Sum("price", where=col.type == "order", windows=["1h", "7d"])
    recent = LastK("item_id", k=5)
    idle = TimeSince()


class Affinity(FeatureView):
    """What a shopper did with the items of a category lately."""

    entity, source = user_category, behaviour
    visits_of_category = Count(windows=["15s", "1m", "5m"])
    clicked_in_category = Count(where=col.type == "click", windows=["1m"])
    idle_in_category = TimeSince()


pipeline = replace(
    catalogue.pipeline,
    name="affinity",
    features=[Habits, catalogue.Popularity, Affinity],
    missing=["idle_in_category"],
)
