"""A table that is too small for its topic drops rows, and counts them."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from small_shop import Product, batch, table_spec

from freshrank.feature_actors.partition.partition import PartitionState


def test_rows_of_too_many_entities_are_dropped_and_counted() -> None:
    state = PartitionState(table_spec(max_entities=40), 0)
    for begin in (0, 50):
        items = range(begin, begin + 50)
        rows = [msgspec.json.encode(Product(item, "hats")) for item in items]
        keys = [b"%d" % item for item in items]
        state.process(replace(batch("catalogue", rows, begin), keys=keys))
    counters = state.counters
    assert counters.table_rows == 100
    assert counters.table_rows_dropped == counters.evicted
    assert 58 <= counters.table_rows_dropped <= 60
