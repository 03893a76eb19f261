"""Rows of other definitions go on by column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from changing_shop import empty, shop, view, words
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import (
    ITEM,
    LABELLED,
    Product,
    batch,
    catalogue,
    event,
    events,
    packed,
    popularity,
    visit,
    visits,
)

from freshrank import (
    Count,
    DecayedCount,
    DistinctCount,
    Histogram,
    LastK,
    LastValue,
    Max,
    Mean,
    Min,
    Quantile,
    SmoothedRate,
    Sum,
    TimeSince,
    Tumbling,
    Variance,
    col,
)
from freshrank.actors.errors import DefinitionChanged
from freshrank.actors.messages.kept_layout import KeptLayout
from freshrank.actors.snapshots.file_format import MadeFor, pack, unpack
from freshrank.feature_actors.aggregations.base import Aggregate
from freshrank.feature_actors.partition.carry_over.table_change import KeptTable, TableChange
from freshrank.feature_actors.partition.partition import PartitionState
from freshrank.feature_actors.partition.snapshot import part_of
from freshrank.feature_actors.partition.spec import PartitionSpec
from freshrank.feature_actors.state.entity_table import EntityTable
from freshrank.feature_actors.streams.stream import Stream
from freshrank.feature_actors.views.row_plan import RowPlan

FEATURES: dict[str, Aggregate] = {
    "views": Count(where=col.type == "view", windows=["1m"]),
    "spend": Sum("price", where=col.type == "order", windows=["1h"]),
    "priciest": Max("price", windows=["5m"]),
    "usual": Mean("price", windows=["lifetime"]),
    "interest": DecayedCount(by="item", half_life="10m", top=3),
    "recent": LastK("item", k=2),
    "idle": TimeSince(),
}
WINDOW = {"views": "_1m", "spend": "_1h", "priciest": "_5m", "usual": "_lifetime"}
PAGES, SECONDS = Count(windows=["1m"]), Sum("seconds", windows=["1m"])


def read(state: PartitionState, begin: int, end: int) -> None:
    """Take the events of these numbers, which are their offsets."""
    values = [
        event(number, f"u{number % 4}", "order" if number % 3 else "view", number % 5, number * 700)
        for number in range(begin, end)
    ]
    state.process(batch("events", values, begin, [number * 700 for number in range(begin, end)]))


def visited(state: PartitionState, begin: int, end: int) -> None:
    values = [visit(at, f"u{at % 3}", at % 4, at * 700) for at in range(begin, end)]
    state.process(batch("visits", values, begin, [at * 700 for at in range(begin, end)]))


def moved(made: PartitionSpec, *parts: tuple[int, int]) -> PartitionState:
    """A state that begins with the first of these ranges of events."""
    state = PartitionState(made, 0)
    state.move_to({"events": parts[0][0]})
    for begin, end in parts:
        read(state, begin, end)
    return state


def carried(state: PartitionState, now: PartitionSpec) -> PartitionState:
    """The state of a file of `state`, for the definitions of now, and saved and loaded by those."""
    found = PartitionState.restore(now, 0, packed(state))
    again = PartitionState.restore(now, 0, packed(found))
    assert packed(again) == packed(found)
    assert again.changes is None
    return found


SOME = st.lists(st.sampled_from(sorted(FEATURES)), unique=True, min_size=1)


@settings(deadline=None, max_examples=60)
@given(
    SOME, SOME, st.sets(st.sampled_from(sorted(FEATURES))), st.integers(0, 25), st.integers(0, 25)
)
def test_kept_columns_go_on_and_new_ones_begin_where_the_definitions_change(
    before: list[str], now: list[str], renamed: set[str], first: int, more: int
) -> None:
    names = {name: f"{name}_now" if name in renamed else name for name in now}
    old = shop(view(**{name: FEATURES[name] for name in before}))
    new = shop(view(**{names[name]: FEATURES[name] for name in now}))
    state = moved(old, (0, first))
    found = carried(state, new)
    read(found, first, first + more)
    whole, late = moved(old, (0, first), (first, first + more)), moved(new, (first, first + more))
    right, begun = words(whole.tables[0]), words(late.tables[0])
    rows = words(found.tables[0])
    assert rows.keys() == right.keys()
    for who, row in rows.items():
        for name in now:
            was, column = f"{name}{WINDOW.get(name, '')}", f"{names[name]}{WINDOW.get(name, '')}"
            if name in before:
                assert row[column] == right[who][was], name
            else:
                assert row[column] == begun.get(who, empty(late.tables[0]))[column], name
    headers = [one.tables[0].rows(one.tables[0].slots())[:, :2].tobytes() for one in (found, whole)]
    assert headers[0] == headers[1]
    assert found.offsets == whole.offsets
    assert found.counters == whole.counters


OF_WINDOWS: dict[str, Callable[[Sequence[str | Tumbling]], Aggregate]] = {
    "count": lambda windows: Count(where=col.type == "view", windows=windows),
    "count with a hop": lambda windows: Count(windows=windows, hop="10s"),
    "count with a delay": lambda windows: Count(windows=windows[:2], delay="10s"),
    "sum": lambda windows: Sum("price", windows=windows),
    "mean": lambda windows: Mean("price", windows=windows),
    "variance": lambda windows: Variance("price", windows=windows),
    "min": lambda windows: Min("price", windows=windows),
    "rate": lambda windows: SmoothedRate(
        of=col.type == "order", among=col.type == "view", expected=0.1, windows=windows
    ),
    "histogram": lambda windows: Histogram("price", boundaries=[1, 2], windows=windows),
    "quantile": lambda windows: Quantile("price", between=(1, 9), windows=windows),
    "distinct": lambda windows: DistinctCount("item", windows=windows),
}


@pytest.mark.parametrize("made", OF_WINDOWS.values(), ids=OF_WINDOWS)
def test_windows_that_stay_keep_their_state_and_only_new_ones_begin_empty(
    made: Callable[[Sequence[str | Tumbling]], Aggregate],
) -> None:
    old = shop(view(idle=TimeSince(), of=made(["1m", "5m", "lifetime", Tumbling("10s")])))
    new = shop(view(of=made(["30s", "5m", Tumbling("10s"), "lifetime"])))
    state = moved(old, (0, 11))
    found = carried(state, new)
    assert found.changes == [str(TableChange("user/events", *both(old, new)))]
    read(found, 11, 23)
    whole, late = words(moved(old, (0, 11), (11, 23)).tables[0]), moved(new, (11, 23)).tables[0]
    rows, begun = words(found.tables[0]), words(late)
    assert rows.keys() == whole.keys()
    for who, row in rows.items():
        new_of = begun.get(who, empty(late))["of_30s"]
        assert row == {name: whole[who].get(name, new_of) for name in row}


def both(old: PartitionSpec, new: PartitionSpec) -> tuple[KeptTable, RowPlan]:
    (before,), (now,) = old.plan.row_plans, new.plan.row_plans
    return KeptTable.of(before), now


def test_inputs_of_windows_that_stay_mean_what_they_did() -> None:
    old, new = (
        shop(view(views=Count(windows=windows), spend=Sum("price", windows=["1h"], hop="5m")))
        for windows in (["1m"], ["1m", "1h"])
    )
    before, now = (dict(KeptLayout.of(one.encoder.layout).dense) for one in (old, new))
    assert now.keys() - before.keys() == {"views_1h"}
    assert now.items() >= before.items()


def test_a_feature_that_is_called_as_a_window_of_another_has_a_state_of_its_own() -> None:
    prices = Histogram("price", boundaries=[1, 2], windows=["1h"])
    old = shop(view(of=prices, of_1h=LastValue("price")))
    state = moved(old, (0, 9))
    found = carried(state, shop(view(of_1h=LastValue("price"), idle=TimeSince(), of=prices)))
    columns = [plan_of.columns_of_rows for plan_of in (state.tables[0].plan, found.tables[0].plan)]
    assert [one.name for one in columns[0]] == ["of_1h", "of_1h"]
    slots = state.tables[0].slots()
    times = np.full(len(slots), 99_000)
    right = state.tables[0].plan.read(state.tables[0].rows(slots), times).values
    plan = found.tables[0].plan
    now = plan.read(found.tables[0].rows(found.tables[0].slots()), times).values
    names = state.tables[0].plan.columns
    assert now[:, [plan.columns.index(name) for name in names]].tolist() == right.tolist()


def test_it_is_told_what_is_kept_added_and_dropped() -> None:
    old = shop(
        view(views=FEATURES["views"], spend=FEATURES["spend"], idle=TimeSince()),
        view(visits, pages=PAGES),
    )
    state = moved(old, (0, 5))
    now = shop(view(seen=FEATURES["views"], idle=TimeSince(), recent=LastK("item", k=2)))
    assert PartitionState.restore(now, 0, packed(state)).changes == [
        "rows of user/events: kept: seen_1m, idle; renamed: views_1m is now seen_1m; "
        "new, empty so far: recent; dropped: spend_1h",
        "rows of user/visits: dropped",
    ]
    back = PartitionState.restore(old, 0, packed(carried(state, now)))
    assert (
        back.changes
        and back.changes[1] == "rows of user/visits: filled from the oldest records (pages_1m)"
    )
    assert PartitionState.restore(old, 0, packed(state)).changes is None


def test_what_is_defined_otherwise_is_told_once_and_tables_that_stay_are_not_told() -> None:
    visits_too = view(visits, pages=PAGES)
    state = moved(shop(view(views=FEATURES["views"], idle=TimeSince()), visits_too), (0, 5))
    now = shop(view(views=FEATURES["views"], idle=TimeSince(where=col.type == "view")), visits_too)
    assert PartitionState.restore(now, 0, packed(state)).changes == [
        "rows of user/events: kept: views_1m; renewed, empty so far: idle"
    ]


def test_two_features_of_one_definition_both_have_its_past() -> None:
    state = moved(shop(view(views=FEATURES["views"])), (0, 9))
    now = shop(view(views=FEATURES["views"], seen=FEATURES["views"]))
    rows = words(carried(state, now).tables[0])
    right = words(state.tables[0])
    assert all(
        row["views_1m"] == row["seen_1m"] == right[who]["views_1m"] for who, row in rows.items()
    )


def test_a_name_that_means_something_else_begins_empty() -> None:
    state = moved(shop(view(spend=Sum("price", windows=["1h"]))), (0, 9))
    found = carried(state, shop(view(spend=Sum("price", windows=["2h"]))))
    assert len(found.tables[0]) == 4
    assert {row["spend_2h"] for row in words(found.tables[0]).values()} == {
        empty(found.tables[0])["spend_2h"]
    }


def test_a_feature_that_was_away_begins_empty() -> None:
    both = shop(view(views=FEATURES["views"], idle=TimeSince()))
    state = moved(both, (0, 9))
    found = carried(carried(state, shop(view(views=FEATURES["views"]))), both)
    rows, right = words(found.tables[0]), words(state.tables[0])
    assert {row["idle"] for row in rows.values()} == {empty(found.tables[0])["idle"]}
    assert all(rows[who]["views_1m"] == right[who]["views_1m"] for who in right)


def test_rows_of_a_changed_table_are_written_anew_and_those_of_another_are_not() -> None:
    old = shop(view(views=FEATURES["views"]), view(visits, pages=PAGES))
    state = moved(old, (0, 9))
    visited(state, 0, 6)
    for table in state.tables:
        table.dirty.take(100)
    visited(state, 6, 7)
    now = shop(view(views=FEATURES["views"], idle=TimeSince()), view(visits, pages=PAGES))
    changed, same = carried(state, now).tables
    assert sorted(changed.dirty.peek()) == [0, 1, 2, 3]
    assert len(same.dirty) == 1
    assert words(same) == words(state.tables[1])


def test_a_new_stream_is_read_from_its_oldest_record_and_one_that_is_gone_leaves() -> None:
    one, two = view(views=FEATURES["views"]), view(visits, pages=PAGES, seconds=SECONDS)
    state = moved(shop(one), (0, 9))
    found = carried(state, shop(one, two))
    assert found.offsets == state.offsets == {"events": 9}
    visited(found, 0, 5)
    fresh = PartitionState(shop(one, two), 0)
    visited(fresh, 0, 5)
    assert words(found.tables[1]) == words(fresh.tables[1])
    assert words(found.tables[0]) == words(state.tables[0])
    gone = carried(found, shop(one))
    assert arrays_of(gone) == arrays_of(state), "nothing is left of it"
    again = carried(gone, shop(one, two))
    assert (again.offsets["visits"], len(again.tables[1])) == (0, 0)
    visited(again, 0, 5)  # none of them is taken for a duplicate
    assert words(again.tables[1]) == words(fresh.tables[1])


def arrays_of(state: PartitionState) -> Mapping[str, list[object]]:
    """All that its file holds, but for the header."""
    return {name: array.tolist() for name, array in unpack(packed(state)).arrays.items()}


def test_rows_beside_go_on_by_column_and_new_ones_begin_empty() -> None:
    one, wanted = view(views=FEATURES["views"]), popularity(events)
    old = shop(one, label=LABELLED, beside=[wanted])
    state = moved(old, (0, 9))
    more = view(events, ITEM, seen=Count(windows=["1m"]), dearest=Max("price", windows=["1h"]))
    now = shop(one, label=LABELLED, beside=[more])
    found = carried(state, now)
    before, table = words(beside(state)), beside(found)
    rows = words(table)
    assert len(rows) == 5
    assert all(rows[item]["seen_1m"] == before[item]["seen_1m"] for item in before)
    assert {row["dearest_1h"] for row in rows.values()} == {empty(table)["dearest_1h"]}
    again = carried(carried(found, shop(one, label=LABELLED)), now)
    assert len(beside(again)) == 0


def beside(state: PartitionState) -> EntityTable:
    """The rows of items, as its file holds them."""
    arrays, (plan,) = unpack(packed(state)).arrays, state.spec.beside
    return EntityTable.restore(plan, 1_000, part_of(arrays, f"beside/{plan.name}"))


class ColouredProduct(msgspec.Struct):
    item: int
    category: str
    price: float | None = None
    colour: str | None = None


def stock(state: PartitionState, begin: int, end: int, made: type[msgspec.Struct]) -> None:
    values = [msgspec.json.encode(made(at % 3, f"c{at}", at / 2)) for at in range(begin, end)]
    records = batch("catalogue", values, begin)
    state.process(replace(records, keys=[b"%d" % (at % 3) for at in range(begin, end)]))


ITEMS = view(events, ITEM, seen=Count(windows=["1m"]))


@pytest.mark.parametrize("views", [(), (ITEMS,)], ids=["alone", "beside a stream"])
def test_a_table_with_a_new_column_is_read_again_while_its_rows_stay(
    views: Sequence[type],
) -> None:
    coloured = replace(catalogue, schema=ColouredProduct)
    old, now = (shop(*views, label=None, tables=[one]) for one in (catalogue, coloured))
    state = PartitionState(old, 0)
    stock(state, 0, 5, Product)
    found = carried(state, now)
    assert found.offsets["catalogue"] == 0
    before, rows = (words(part.row_tables[-1]) for part in (state, found))
    assert {who: row["category"] for who, row in rows.items()} == {
        who: row["category"] for who, row in before.items()
    }
    stock(found, 0, 5, ColouredProduct)
    fresh = PartitionState(now, 0)
    stock(fresh, 0, 5, ColouredProduct)
    assert words(found.row_tables[-1]) == words(fresh.row_tables[-1])
    back = carried(found, old)
    assert back.offsets["catalogue"] == 5, "no column of before is missing"
    assert words(back.row_tables[-1]) == before


@pytest.mark.parametrize(
    "changed",
    [
        replace(visits, partitioner="any"),
        replace(visits, partitioner="crc32"),
        replace(visits, time="visit_id"),
    ],
    ids=["copied", "another partitioner", "another time"],
)
def test_a_table_of_rows_with_another_basis_is_refused(changed: Stream) -> None:
    one = view(views=FEATURES["views"])
    state = moved(shop(one, view(visits, pages=PAGES)), (0, 5))
    now = shop(one, view(changed, pages=PAGES))
    with pytest.raises(DefinitionChanged, match="the rows of user/visits are made of entity user"):
        PartitionState.restore(now, 0, packed(state))


def test_definitions_of_another_basis_are_refused() -> None:
    state = moved(shop(view(views=FEATURES["views"])), (0, 5))
    with pytest.raises(DefinitionChanged, match="made for definitions"):
        PartitionState.restore(
            shop(view(views=FEATURES["views"]), label=LABELLED), 0, packed(state)
        )


def test_impressions_that_an_earlier_version_logged_are_of_the_inputs_of_now() -> None:
    """Its fingerprints told no types, and its files not what they are made of."""
    made = shop(view(recent=LastK("item", k=2), views=Count(windows=["1m"])))
    made = replace(made, made_for=MadeFor("now", "basis", former="before"))
    found = unpack(packed(moved(made, (0, 10))))
    meta = {name: value for name, value in found.meta.items() if name not in ("tables", "inputs")}
    file = b"".join(pack(found.kind, MadeFor("before"), meta, found.arrays))
    state = PartitionState.restore(made, 0, file)
    encoder = made.encoder
    assert encoder.former_fingerprint != encoder.fingerprint
    assert state.former_layouts == {encoder.former_fingerprint: KeptLayout.of(encoder.layout)}
    assert state.offsets == moved(made, (0, 10)).offsets
    assert state.changes is None
