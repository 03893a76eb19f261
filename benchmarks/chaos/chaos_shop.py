"""The pipeline of the chaos bench: the demo's, with all that a pipeline may read.

Beside the behaviour of users there is a second stream of them, a table of items, and a view of
items, whose events lie in the partitions of users.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from freshrank.benchmarks.workloads.shop_events import CATEGORIES, ITEMS
from freshrank.benchmarks.workloads.shop_fixture import changed, shop_file, written_pipeline
from freshrank.benchmarks.workloads.steady_stream import SteadyStream
from freshrank.deploy.pipelines.pipeline import Pipeline
from freshrank.examples.shop.shoppers import ShopProduct

_ADDED = """\
visits = Stream("{name}-visits", id="event_id", time="ts", key=user, schema=Behaviour)


class Visits(FeatureView):
    entity, source = user, visits
    visits = Count(windows=["1m", "1h"])
    visited = LastK("item_id", k=3)


class Product(msgspec.Struct):
    item_id: int
    category_id: int
    price: float


item = Entity("item", key="item_id")
catalogue = Table("{name}-catalogue", key=item, schema=Product)


class Popularity(FeatureView):
    entity, source = item, behaviour
    clicked = Count(where=col.type == "click", windows=["1m", "1h"])
    shoppers = LastK("user_id", k=4, repeats=False, learned=False)


pipeline = Pipeline("""

# Rows that are deleted, of all that are written to the table.
_DELETED_SHARE = 0.05


def chaos_shop(folder: Path) -> tuple[Path, Pipeline]:
    """Write the pipeline with a name and topics of its own; return its file, and load it."""
    unique = f"chaos-{time.time_ns():x}"
    changes = {
        "    Sum,\n": "    Sum,\n    Table,\n",
        "pipeline = Pipeline(": _ADDED.format(name=unique),
        "stream=behaviour,": "streams=[behaviour, visits],",
        "features=[Activity],": "features=[Activity, Visits, Popularity], tables=[catalogue],",
        '"category_id"],\n    # A shown': '"category_id", catalogue.price],\n    # A shown',
    }
    text = changed("recommend.py", shop_file(unique, unique).text, changes)
    return written_pipeline(folder, text)


class SteadyRows(SteadyStream):
    """Writes rows of items, whose prices change, and sometimes deletes one."""

    def records(self, count: int, now_ms: int, tick: int) -> Iterator[tuple[bytes, bytes | None]]:
        """The next `count` rows and tombstones."""
        items = self.rng.integers(1, ITEMS + 1, count).tolist()
        prices = self.rng.lognormal(3.0, 0.8, count).round(2).tolist()
        deleted = (self.rng.random(count) < _DELETED_SHARE).tolist()
        for item, price, gone in zip(items, prices, deleted, strict=True):
            row = msgspec.json.encode(ShopProduct(item, item % CATEGORIES + 1, price))
            yield str(item).encode(), None if gone else row
