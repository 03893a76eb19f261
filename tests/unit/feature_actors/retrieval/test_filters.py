import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import catalogue, item, table_records

from freshrank import Table
from freshrank.actors.errors import RequestError
from freshrank.actors.features.retrieval import Comparison, Filter
from freshrank.actors.messages import Bools
from freshrank.feature_actors.connectors.in_memory.log import consecutive_records
from freshrank.feature_actors.retrieval import filter_masks
from freshrank.feature_actors.retrieval.catalogue import ItemCatalogue
from freshrank.feature_actors.retrieval.filter_masks import FilterMasks
from freshrank.feature_actors.retrieval.filters import Check, checked, passing
from freshrank.feature_actors.streams.table_codec import TableCodec

VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "brand": st.sampled_from(["a", "b", ""]),
    "shelf": st.integers(-1, 2),
    "price": st.sampled_from([0.0, 0.5, 1.0]),
}
rows = st.lists(
    st.fixed_dictionaries({name: st.none() | value for name, value in VALUES.items()}), max_size=6
)


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    field = draw(st.sampled_from(list(VALUES)))
    ordered: list[Comparison] = ["lt", "le", "gt", "ge"] if field != "brand" else []
    comparison: Comparison = draw(
        st.sampled_from(["eq", "ne", "in", "not_in", "is_null", *ordered])
    )
    if comparison == "is_null":
        return Filter(field, comparison, draw(st.booleans()))
    if comparison in ("in", "not_in"):
        return Filter(field, comparison, draw(st.lists(VALUES[field], max_size=3)))
    return Filter(field, comparison, draw(VALUES[field]))


class Film(msgspec.Struct):
    item: str
    genres: list[str] | None = None
    years: tuple[int, ...] = ()
    sizes: list[float] = []


FILMS = Table("films", key=item, schema=Film)
LISTS: Mapping[str, st.SearchStrategy[Any]] = {
    "genres": st.sampled_from(["a", "b", ""]),
    "years": st.integers(-1, 2),
}


def films(given: Sequence[Mapping[str, Any]]) -> ItemCatalogue:
    """A catalogue with these rows, of the items i0, i1 ..."""
    found = ItemCatalogue(FILMS, most=10_000)
    put(found, [(f"i{number}", row) for number, row in enumerate(given)])
    return found


def put(found: ItemCatalogue, given: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    values: list[bytes | None] = [msgspec.json.encode({"item": name, **row}) for name, row in given]
    batch = consecutive_records("films", 0, values, 0)
    found.take(TableCodec(FILMS).decode(replace(batch, keys=[name.encode() for name, _ in given])))


@given(
    st.lists(
        st.fixed_dictionaries({name: st.lists(one, max_size=4) for name, one in LISTS.items()}),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(list[Comparison](["eq", "ne", "in", "not_in", "is_null"])),
    st.data(),
)
def test_a_list_passes_by_any_of_its_values(
    given_rows: list[dict[str, list[Any]]], comparison: Comparison, data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(list(LISTS)))
    if comparison == "is_null":
        wanted: Any = data.draw(st.booleans())
    elif comparison in ("in", "not_in"):
        wanted = data.draw(st.lists(LISTS[field], max_size=3))
    else:
        wanted = data.draw(LISTS[field])
    asked = set(wanted) if isinstance(wanted, list) else {wanted}

    def passes(row: Mapping[str, list[Any]]) -> bool:
        has = set(row[field])
        if comparison == "is_null":
            return wanted is not bool(has)
        return bool(has & asked) if comparison in ("eq", "in") else bool(has) and not has & asked

    index = films(given_rows)
    for found in (
        passing(index, [Filter(field, comparison, wanted)]),
        FilterMasks(index).passing([Filter(field, comparison, wanted)]),
    ):
        assert found[: len(given_rows)].tolist() == [passes(row) for row in given_rows]
        assert not found[len(given_rows) :].any()


def test_lists_of_rows_that_change_are_those_of_now_and_the_first_of_long_ones_count() -> None:
    long = [f"g{number}" for number in range(20)]
    index = films([{"genres": ["a", "b"]}, {"genres": ["b"]}, {"genres": long}])
    masks = FilterMasks(index)

    def having(genre: str) -> list[str]:
        found = masks.passing([Filter("genres", "eq", genre)])
        return [index.names[slot] for slot in np.flatnonzero(found).tolist()]

    assert (having("b"), having("g15"), having("g16")) == (["i0", "i1"], ["i2"], [])
    put(index, [("i0", {"genres": ["c"]}), ("i1", {"genres": None})])
    assert (having("b"), having("c")) == ([], ["i0"])
    put(index, [(f"n{number}", {"genres": ["c"]}) for number in range(2_000)])
    assert len(having("c")) == len(index) - 2


def test_lists_are_not_compared_by_size_and_numbers_in_lists_are_shown_alone() -> None:
    index = films([{"years": [1], "sizes": [1.5]}])
    with pytest.raises(RequestError, match="a list is not compared by size"):
        passing(index, [Filter("years", "lt", 5)])
    with pytest.raises(RequestError, match="no such field"):
        passing(index, [Filter("year", "eq", 5)])
    assert index.listed_types == {"genres": str, "years": int}
    assert list(index.lists) == ["genres", "years", "sizes"]


def test_the_values_of_fields_whose_types_list_them_are_known() -> None:
    class Garment(msgspec.Struct):
        item: str
        colour: Literal["red", "blue"] | None
        size: Literal[38, 40]
        on_sale: bool
        cuts: list[Literal["slim", "wide"]] = []
        tags: list[str] = []

    index = ItemCatalogue(Table("garments", key=item, schema=Garment), most=10)
    assert index.choices == {
        "colour": ("blue", "red"), "size": (38, 40), "cuts": ("slim", "wide")
    }  # fmt: skip


HOLDS: Mapping[Comparison, Callable[[Any, Any], Any]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "in": lambda value, wanted: value in wanted,
    "not_in": lambda value, wanted: value not in wanted,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def holds(row: Mapping[str, Any], one: Filter) -> bool:
    value, wanted = row[one.field], one.value
    if one.comparison == "is_null":
        return (value is None) == wanted
    if value is None:
        return False
    return bool(HOLDS[one.comparison](value, wanted))


@given(rows, st.lists(filters(), max_size=3))
def test_an_item_passes_where_every_filter_holds(
    given_rows: list[dict[str, Any]], wanted: list[Filter]
) -> None:
    items = ItemCatalogue(catalogue, most=100)
    names = [f"i{number}" for number in range(len(given_rows))]
    items.take(table_records(list(zip(names, given_rows, strict=True))))
    passed = passing(items, wanted)
    assert passed[items.slots_of(names)].tolist() == [
        all(holds(row, one) for one in wanted) for row in given_rows
    ]
    some = items.slots_of(names[::2])
    assert passing(items, wanted, some).tolist() == passed[some].tolist()
    masks = FilterMasks(items)
    for _ in range(2):  # the second time by masks that are kept
        assert masks.passing(wanted).tolist() == passed.tolist()
    assert passed.sum() <= len(given_rows)  # no slot without an item passes


def test_what_cannot_be_compared_is_named() -> None:
    items = ItemCatalogue(catalogue, most=100)
    with pytest.raises(RequestError, match=r"filters.colour: .*item, brand, shelf, price"):
        passing(items, [Filter("colour", "eq", "red")])
    with pytest.raises(RequestError, match=r"filters.brand.lt: a text is not compared by size"):
        passing(items, [Filter("brand", "lt", "b")])


LEFT = [Filter("shelf", "in", [1, 2]), Filter("price", "lt", 1.0)]


def test_masks_are_of_the_catalogue_as_it_is_now() -> None:
    items = ItemCatalogue(catalogue, most=100)
    masks = FilterMasks(items)

    def left() -> list[str]:
        return [items.names[slot] for slot in masks.passing(LEFT).nonzero()[0].tolist()]

    items.take(table_records([("a", {"shelf": 1, "price": 0.5}), ("b", {"shelf": 3})]))
    assert left() == ["a"]
    items.take(table_records([("a", None), ("b", {"shelf": 2, "price": 0.0})]))
    assert left() == ["b"]
    items.take(table_records([("c", {"shelf": 1, "price": 0.0})]))
    assert sorted(left()) == ["b", "c"], "an item that has come, in the slot of one that has gone"


def test_a_comparison_is_made_once_while_the_catalogue_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = ItemCatalogue(catalogue, most=100)
    items.take(table_records([("a", {"shelf": 1, "price": 0.5})]))
    masks, made = FilterMasks(items), list[Check]()

    def noted(catalogue: ItemCatalogue, slots: slice, check: Check) -> Bools:
        made.append(check)
        return checked(catalogue, slots, check)

    monkeypatch.setattr(filter_masks, "checked", noted)
    masks.passing(LEFT)
    assert len(made) == 3, "of two shelves and a price"
    masks.passing([Filter("shelf", "eq", 2), Filter("price", "lt", 1.0)])
    assert len(made) == 3
    items.take(table_records([("b", {})]))
    masks.passing(LEFT)
    assert len(made) == 6


def test_masks_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    items = ItemCatalogue(catalogue, most=100)
    monkeypatch.setattr(filter_masks, "MOST_BYTES", 5 * items.capacity // 8)
    masks = FilterMasks(items)
    for number in range(20):
        masks.passing([Filter("shelf", "eq", number)])
    assert len(masks) == 5
