"""Every aggregate over a list is the same aggregate over events with one element each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import START_MS

from freshrank import (
    Count,
    DecayedCount,
    DecayedMean,
    DecayedSum,
    DistinctCount,
    Entity,
    FeatureView,
    FirstValue,
    Histogram,
    LastK,
    LastValue,
    Max,
    Mean,
    Min,
    Quantile,
    Session,
    SmoothedRate,
    StandardDeviation,
    Stream,
    Sum,
    TimeSince,
    Trend,
    Variance,
    col,
)
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.aggregations.kernel_types import FeatureBlock
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.columns import Columns
from freshrank.feature_actors.views.table_plan import TablePlan


class Line(msgspec.Struct):
    kind: str
    product: int
    price: float | None = None


class Order(msgspec.Struct):
    order_id: str
    user_id: str
    ts: int
    channel: str = "web"
    items: list[Line] | None = None
    tags: list[str] = []


class Sale(msgspec.Struct):
    """A line of an order as an event of its own."""

    order_id: str
    user_id: str
    ts: int
    kind: str
    product: int
    channel: str
    price: float | None = None


user = Entity("user", key="user_id")
orders = Stream("orders", id="order_id", time="ts", key=user, schema=Order)
sales = Stream("sales", id="order_id", time="ts", key=user, schema=Sale)


def aggregates(field: Any, path: str) -> Mapping[str, Aggregate]:
    """One of each kind and more, over `field.price` and so on, which is also ``path + "price"``."""
    is_new, price, windows = field.kind == "new", f"{path}price", ["1s", "10s"]
    product, kind = f"{path}product", f"{path}kind"
    return {
        "count": Count(where=is_new, windows=windows),
        "count_others": Count(where=~is_new, windows=windows),
        "count_null": Count(where=field.price.is_null(), windows=windows),
        "count_in": Count(where=field.product.isin([1, 2]), windows=windows),
        "count_web": Count(where=(col.channel == "web") & is_new, windows=windows),
        "sum": Sum(price, windows=windows),
        "sum_web": Sum(price, where=col.channel == "web", windows=windows),
        "sum_of_products": Sum(field.price * field.product + 1, windows=windows),
        "mean": Mean(price, windows=windows),
        "share": Mean(is_new, windows=windows),
        "max": Max(price, windows=windows),
        "min": Min(price, windows=windows, where=is_new),
        "variance": Variance(price, windows=windows),
        "deviation": StandardDeviation(price, windows=windows),
        "distinct": DistinctCount(product, windows=windows, most=3),
        "decayed_sum": DecayedSum(price, half_life="4s"),
        "decayed_mean": DecayedMean(price, half_life="4s", where=is_new),
        "first": FirstValue(price),
        "last": LastValue(price),
        "trend": Trend("1s", "10s", where=is_new),
        "histogram": Histogram(price, [10, 50], windows=windows),
        "quantile": Quantile(price, between=(1, 100), windows=windows),
        "session": Session(gap="5s", where=is_new),
        "rate": SmoothedRate(of=is_new, among=col.channel == "web", expected=0.1, windows=windows),
        "top": DecayedCount(by=kind, half_life="4s", top=2),
        "recent": LastK(product, k=4),
        "recent_distinct": LastK(product, k=3, repeats=False, where=is_new),
        "idle": TimeSince(where=is_new),
    }


def plans(stream: Stream, made: Mapping[str, Aggregate]) -> dict[str, TablePlan]:
    bodies = {name: {"entity": user, "source": stream, "f": one} for name, one in made.items()}
    return {name: TablePlan([type("View", (FeatureView,), one)]) for name, one in bodies.items()}


LISTED = plans(orders, aggregates(col.items, "items."))
FLAT = plans(sales, aggregates(col, ""))


def columns_of(stream: Stream, events: Sequence[Any], first_offset: int = 0) -> Columns:
    times = np.array([one.ts for one in events], dtype=np.int64)
    offsets = np.arange(first_offset, first_offset + len(events), dtype=np.int64)
    return Columns.of_events(stream.fields, list(events), offsets, times)


def lines_of(order: Order) -> list[Sale]:
    given = [(one.kind, one.product, one.price) for one in order.items or ()]
    return [
        Sale(order.order_id, order.user_id, order.ts, kind, product, order.channel, price)
        for kind, product, price in given
    ]


def rows_of(table: EntityTable, names: Sequence[str], at_ms: int) -> FeatureBlock:
    rows = [table.row(name) for name in names]
    found = np.array([table.plan.empty_row if row is None else row for row in rows])
    assert isinstance(table.plan, TablePlan)
    return table.plan.read(found, np.full(len(names), at_ms))


def lines_at(block: FeatureBlock, which: Any) -> FeatureBlock:
    return FeatureBlock(block.values[which], block.ids[which], block.id_weights[which])


def same(one: FeatureBlock, other: FeatureBlock) -> None:
    for part, wanted in zip(one, other, strict=True):
        np.testing.assert_array_equal(part, wanted)


line = st.builds(
    Line,
    kind=st.sampled_from(["new", "used", "gift"]),
    product=st.integers(1, 4),
    price=st.none() | st.integers(1, 400).map(lambda quarters: quarters / 4),
)


def order_of(lists: st.SearchStrategy[list[Line] | None]) -> st.SearchStrategy[Order]:
    return st.builds(
        Order,
        order_id=st.just("o"),
        user_id=st.sampled_from(["ann", "bob"]),
        ts=st.integers(0, 30_000).map(lambda at: START_MS + at),
        channel=st.sampled_from(["web", "app"]),
        items=lists,
        tags=st.lists(st.sampled_from(["a", "b"]), max_size=2),
    )


some_lines = st.lists(line, min_size=1, max_size=3)
any_orders = st.lists(order_of(st.none() | st.lists(line, max_size=3)), min_size=1, max_size=12)
full_orders = st.lists(order_of(some_lines), min_size=1, max_size=12)
each_aggregate = pytest.mark.parametrize("name", LISTED)


@each_aggregate
@settings(max_examples=25)
@given(made=any_orders)
def test_each_element_counts_as_an_event_of_its_own(name: str, made: list[Order]) -> None:
    listed = EntityTable(LISTED[name], 10)
    flat = EntityTable(FLAT[name], 10)
    listed.apply(columns_of(orders, made), before=False)
    single = [sale for order in made for sale in lines_of(order)]
    if single:
        flat.apply(columns_of(sales, single), before=False)
    end_ms = max(order.ts for order in made)
    for at_ms in (end_ms, end_ms + 3_000, end_ms + 60_000):
        same(rows_of(listed, ["ann", "bob"], at_ms), rows_of(flat, ["ann", "bob"], at_ms))


@each_aggregate
@settings(max_examples=25)
@given(made=full_orders)
def test_the_features_before_an_event_are_those_before_its_first_element(
    name: str, made: list[Order]
) -> None:
    listed = EntityTable(LISTED[name], 10)
    flat = EntityTable(FLAT[name], 10)
    single = [lines_of(order) for order in made]
    firsts = np.cumsum([0, *map(len, single[:-1])])
    before = listed.apply(columns_of(orders, made), before=True).before
    of_lines = flat.apply(columns_of(sales, list(chain(*single))), before=True).before
    assert before is not None
    assert of_lines is not None
    same(before, lines_at(of_lines, firsts))


class Everything(FeatureView):
    entity, source = user, orders
    count = Count(windows=["10s"])
    spent = Sum("items.price", where=col.channel == "web", windows=["10s"])
    kinds = DecayedCount(by="items.kind", half_life="4s", top=2)
    tags = LastK("tags", k=3)
    idle = TimeSince()


EVERYTHING = TablePlan([Everything])


@given(made=any_orders, cuts=st.sets(st.integers(1, 11)))
def test_rows_are_a_function_of_the_events_wherever_batches_end(
    made: list[Order], cuts: set[int]
) -> None:
    whole, parts = (EntityTable(EVERYTHING, 10) for _ in range(2))
    applied = whole.apply(columns_of(orders, made), before=True)
    ends = [0, *sorted(cut for cut in cuts if cut < len(made)), len(made)]
    late: list[bool] = []
    for begin, end in pairwise(ends):
        columns = columns_of(orders, made[begin:end], begin)
        one = parts.apply(columns, before=True)
        late += one.late.tolist()
        assert one.before is not None
        assert applied.before is not None
        same(one.before, lines_at(applied.before, slice(begin, end)))
    assert late == applied.late.tolist()
    np.testing.assert_array_equal(whole.rows(whole.slots()), parts.rows(parts.slots()))


@given(made=any_orders)
def test_numbers_are_those_of_the_raw_events(made: list[Order]) -> None:
    table = EntityTable(EVERYTHING, 10)
    table.apply(columns_of(orders, made), before=False)
    end_ms = max(order.ts for order in made)
    begin_ms = (end_ms - 10_000) // 834 * 834  # a twelfth of the window
    block = rows_of(table, ["ann"], end_ms)
    own = [one for one in made if one.user_id == "ann" and one.ts >= begin_ms]
    prices = [
        line.price
        for one in own
        if one.channel == "web"
        for line in one.items or ()
        if line.price is not None
    ]
    np.testing.assert_array_equal(block.values[0, :2], [len(own), sum(prices)])


class Fleeting(FeatureView):
    entity, source = user, orders
    spent = Sum("items.price", windows=["1s"])


def test_an_event_is_late_when_all_that_its_elements_are_for_has_forgotten_its_time() -> None:
    table = EntityTable(TablePlan([Fleeting]), 10)
    item, now = Line("new", 1, 2.0), START_MS + 60_000
    made = [
        Order("1", "ann", now, items=[item]),
        Order("2", "ann", START_MS, items=[item, item]),
        Order("3", "ann", START_MS, items=[]),
    ]
    applied = table.apply(columns_of(orders, made, first_offset=5), before=False)
    assert applied.late.tolist() == [False, True, False]
    row = table.row("ann")
    assert row is not None
    assert row.view(np.int64)[1] == 7, "the offset of the last event that was not late"
