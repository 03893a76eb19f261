from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import START_MS, item_rows, plan, table_records, user_rows

from freshrank.actors.errors import Unavailable
from freshrank.actors.features.retrieval import Boost, CandidateOrigin, Filter, Query
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex

NAMES = [f"i{number}" for number in range(8)]
BRANDS = {name: "ab"[number % 2] for number, name in enumerate(NAMES)}
CO_VISITED, POPULAR, PER_BRAND = "co_visited:users", "popular:viewed_1h", "popular:viewed_1h/brand"
LISTED = "listed:front page"
NOW_MS = START_MS + 100_000

Events = Sequence[tuple[str, str, str]]


def index_of(events: Events, names: Sequence[str] = NAMES) -> CandidateIndex:
    index = CandidateIndex(plan(), most=1_000)
    for number, name in enumerate(names):
        row = {"brand": BRANDS[name], "price": float(number)}
        index.take_records(table_records([(name, row)], START_MS + number))
    index.rebuild()
    read_rows(index, events, names)
    return index


def read_rows(index: CandidateIndex, events: Events, names: Sequence[str]) -> None:
    (table,) = index.tables
    slots = index.catalogue.slots_of(names)
    index.take_rows(slots, {table.name: item_rows(events, names)}, NOW_MS)
    index.rebuild()


def ask(index: CandidateIndex, source: str, events: Events = (), **query: Any) -> list[str]:
    given_query: dict[str, Any] = {
        "most": 100,
        "at_ms": NOW_MS,
        "rows": user_rows(events, "me"),
        **query,
    }
    return list(index.retrieve(Query(sources=[source], **given_query)).items)


views = st.lists(
    st.tuples(st.sampled_from("uvwxyz"), st.sampled_from(NAMES), st.just("view")), max_size=40
)


@given(views)
def test_popular_items_are_those_with_the_greatest_value(events: Events) -> None:
    counts = Counter(what for _, what, _ in events)
    index = index_of(events)
    found = index.retrieve(Query(most=100, at_ms=NOW_MS, sources=[POPULAR]))
    assert sorted(found.items) == sorted(counts)
    assert list(found.weights) == [float(counts[name]) for name in found.items]
    assert list(found.weights) == sorted(found.weights, reverse=True)


def test_an_index_is_made_anew_only_when_something_has_changed_in_what_it_is_made_of() -> None:
    events = [("u", "i0", "view"), ("u", "i2", "order")]
    index = index_of(events)
    (table,) = index.tables
    slots = index.catalogue.slots_of(NAMES)

    def stale(after: Events) -> set[str]:
        index.take_rows(slots, {table.name: item_rows(after, NAMES)}, NOW_MS)
        return index.stale

    assert stale(events) == set()
    assert stale([*events, ("v", "i3", "order")]) == {CO_VISITED}
    index.rebuild()
    again = [*events, ("v", "i3", "order"), ("v", "i3", "view")]
    assert stale(again) == {POPULAR, PER_BRAND}, "the last users are the same"


def test_a_record_of_the_catalogue_has_no_index_made_anew_that_is_made_of_users_alone() -> None:
    events = [("u", "i0", "view"), ("u", "i2", "view")]
    index = index_of(events)

    def stale(*records: tuple[str, dict[str, Any] | None]) -> set[str]:
        index.take_records(table_records(list(records)))
        found = set(index.stale)
        index.rebuild()
        return found

    others = {*index.sources} - {CO_VISITED}
    assert stale(("i0", {"price": 2.0})) == others
    assert stale(("new", {})) == others
    assert stale(("i0", None)) == others
    assert stale(("newer", {})) == {*others, CO_VISITED}, "it has the slot of one with users"
    assert ask(index, CO_VISITED, [("me", "i2", "view")]) == []
    assert CandidateIndex(plan(), most=9).stale == {*others, CO_VISITED}


@pytest.mark.parametrize(("touched", "person"), [(500, True), (501, False)])
def test_who_touched_more_items_than_a_person_does_relates_none_of_them(
    touched: int, person: bool
) -> None:
    names = [f"i{number}" for number in range(touched)]
    index = CandidateIndex(plan(), most=1_000)
    index.take_records(table_records([(name, {}) for name in names]))
    read_rows(index, [("bot", name, "view") for name in names], names)
    assert bool(ask(index, CO_VISITED, [("me", "i0", "view")])) == person


def test_popular_items_per_brand_are_of_the_brands_touched_last_in_their_order() -> None:
    events = [("u", "i0", "view"), ("u", "i2", "view"), ("v", "i2", "view"), ("u", "i1", "view")]
    index = index_of(events)
    mine = [("me", "i4", "view"), ("me", "i3", "view")]
    assert ask(index, PER_BRAND, mine) == ["i1", "i2", "i0"]
    assert ask(index, PER_BRAND, mine, most=2) == ["i1", "i2"]
    assert ask(index, PER_BRAND, mine[:1]) == ["i2", "i0"]
    assert ask(index, PER_BRAND) == []


def test_the_newest_items_come_first_also_one_that_has_just_come() -> None:
    index = index_of([])
    assert ask(index, "newest") == NAMES[::-1]
    index.take_records(table_records([("i1", {}), ("new", {})], NOW_MS))
    index.rebuild()
    assert ask(index, "newest", most=3) == ["i1", "new", "i7"]


def test_a_list_is_given_in_its_order_without_what_the_catalogue_lacks() -> None:
    index = index_of([])
    assert ask(index, LISTED) == ["i3", "i1"]
    index.take_records(table_records([("i3", None)]))
    assert ask(index, LISTED) == ["i1"]


def brute_force(events: Events, recent: Sequence[str]) -> dict[str, float]:
    """The formula of `CoVisited`, item by item and user by user."""
    users: dict[str, list[str]] = {}
    for who, what, _ in events:
        known = users.setdefault(what, [])
        if who in known:
            known.remove(who)
        users[what] = [who, *known][:8]
    totals = dict[str, float]()
    for name in NAMES:
        if name in recent or name not in users:
            continue
        for who in users[name]:
            near = sum(
                1 / place for place, one in enumerate(recent, 1) if who in users.get(one, ())
            )
            of_user = sum(who in known for known in users.values())
            totals[name] = totals.get(name, 0.0) + near / sqrt(of_user)
        totals[name] /= sqrt(len(users[name]))
    return {name: total for name, total in totals.items() if total > 0}


@given(views, st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
def test_co_visited_items_weigh_as_the_formula_says(events: Events, touched: list[str]) -> None:
    index = index_of(events)
    mine = [("me", name, "view") for name in reversed(touched)]
    expected = brute_force(events, touched)
    rows = user_rows(mine, "me")
    found = index.retrieve(Query(most=100, at_ms=NOW_MS, rows=rows, sources=[CO_VISITED]))
    assert dict(zip(found.items, found.weights, strict=True)) == pytest.approx(expected)
    assert list(found.weights) == sorted(found.weights, reverse=True)
    candidates = [*expected, "i0", "of no catalogue"]
    weighed = index.weigh(rows, {"item": candidates}, NOW_MS)
    relative = list(weighed[CO_VISITED])
    assert relative[-1] == 0.0
    for name, weight in zip(candidates[: len(expected)], relative, strict=False):
        assert weight * expected[candidates[0]] == pytest.approx(relative[0] * expected[name])
    # In tens of the mean of all items that have a weight, those among them that were touched.
    given = [weight for weight in index.weigh(rows, {"item": NAMES}, NOW_MS)[CO_VISITED] if weight]
    assert sum(given) == pytest.approx(len(given) / 10)
    # The same items, named by the query.
    named = index.retrieve(Query(most=100, at_ms=NOW_MS, items=touched, sources=[CO_VISITED]))
    assert list(named.items) == list(found.items)


def test_an_answer_says_which_of_the_users_items_led_to_a_candidate() -> None:
    events = [("u", "i0", "view"), ("u", "i2", "view"), ("v", "i1", "view"), ("v", "i2", "view")]
    events += [("w", "i1", "view"), ("w", "i2", "view")]
    index = index_of(events)
    mine = [("me", "i0", "view"), ("me", "i1", "view"), ("me", "i5", "view")]
    rows = user_rows(mine, "me")
    found = index.retrieve(Query(most=1, at_ms=NOW_MS, rows=rows, sources=[CO_VISITED, POPULAR]))
    assert list(found.items) == ["i2"]
    assert list(found.origins[0]) == [
        CandidateOrigin(CO_VISITED, ["i1", "i0"]),
        CandidateOrigin(POPULAR, []),
    ]
    assert list(found.origins) == [found.origins[0]]


def test_sources_alternate_and_each_candidate_comes_once() -> None:
    index = index_of([("u", "i1", "view"), ("u", "i1", "view"), ("u", "i5", "view")])
    found = index.retrieve(Query(most=5, at_ms=NOW_MS))
    # Of: popular i1, i5; newest i7, i6, ...; listed i3, i1.
    assert list(found.items) == ["i1", "i7", "i3", "i5", "i6"]
    assert list(found.weights) == [2.0, START_MS + 7, 1.0, 1.0, START_MS + 6]
    assert found.found == {CO_VISITED: 0, POPULAR: 2, PER_BRAND: 0, "newest": 5, LISTED: 2}
    assert [origin.source for origin in found.origins[0]] == [POPULAR, LISTED]
    assert found.columns == {"item": list(found.items)}
    assert found.rows[0] == {"item": "i1", "brand": "b", "shelf": None, "price": 1.0}


def test_excluded_and_seen_items_and_those_that_do_not_pass_are_no_candidates() -> None:
    index = index_of([])
    mine = [("me", "i7", "view"), ("me", "i6", "order"), ("me", "i0", "view")]
    both = {"exclude_seen": ["recent", "ordered"]}
    assert ask(index, "newest", mine, **both) == ["i5", "i4", "i3", "i2", "i1"]
    assert ask(index, "newest", mine, exclude_seen=["ordered"], most=2) == ["i7", "i5"]
    assert ask(index, "newest", mine, exclude=["i7", "other"], most=2) == ["i6", "i5"]
    of_a = [Filter("brand", "eq", "a"), Filter("price", "lt", 5.0)]
    assert ask(index, "newest", filters=of_a) == ["i4", "i2", "i0"]
    assert ask(index, LISTED, filters=of_a) == []


def test_an_item_that_left_is_no_candidate_of_any_source_nor_is_its_successor_what_it_was() -> None:
    events = [("u", name, "view") for name in NAMES]
    index = index_of(events)
    index.take_records(table_records([("i3", None)]))
    everything = index.retrieve(Query(most=100, at_ms=NOW_MS, items=["i0"]))
    assert "i3" not in everything.items
    index.take_records(table_records([("fresh", {"brand": "b"})], NOW_MS))
    index.rebuild()
    assert "fresh" not in ask(index, POPULAR)
    assert "fresh" not in ask(index, CO_VISITED, items=["i0"])
    assert ask(index, "newest", most=1) == ["fresh"]


def test_an_empty_catalogue_gives_no_candidate() -> None:
    index = CandidateIndex(plan(), most=10)
    index.rebuild()
    found = index.retrieve(Query(most=5, at_ms=NOW_MS))
    assert (found.items, found.columns, found.weights) == ([], {"item": []}, [])
    assert (len(found.rows), len(found.origins)) == (0, 0)
    assert found.found == dict.fromkeys(index.sources, 0)
    assert not index.knows("i0")


def test_a_row_of_another_definition_is_an_error() -> None:
    index = index_of([])
    (table,) = index.tables
    with pytest.raises(Unavailable, match="a row of 8 bytes in place of"):
        index.take_rows(index.catalogue.slots_of(["i0"]), {table.name: [b"\0" * 8]}, NOW_MS)


def test_it_names_what_requests_may_use() -> None:
    index = index_of([])
    assert index.entity == "item"
    assert index.fields == {"item": str, "brand": str, "shelf": int, "price": float}
    assert index.seen == ["recent", "ordered"]
    assert index.similar == [CO_VISITED]
    assert index.sources == [CO_VISITED, POPULAR, PER_BRAND, "newest", LISTED]
    assert index.knows("i0")


def test_the_factor_of_a_candidate_is_the_product_of_those_of_boosts_that_it_passes() -> None:
    index = index_of([("u", name, "view") for name in NAMES])
    boosts = [
        Boost([Filter("brand", "eq", "a")], 2.0),
        Boost([Filter("price", "ge", 4.0), Filter("price", "lt", 6.0)], 0.25),
        Boost([], 10.0),
    ]
    query = Query(most=100, at_ms=NOW_MS, sources=[POPULAR])
    found = index.retrieve(replace(query, boosts=boosts))
    factors = dict(zip(found.items, found.factors, strict=True))
    assert [factors[name] for name in NAMES] == [20.0, 10.0, 20.0, 10.0, 5.0, 2.5, 20.0, 10.0]
    assert index.retrieve(query).items == found.items
    assert index.retrieve(query).factors == []


def test_items_are_looked_up_in_the_order_of_the_request_as_far_as_they_are_there() -> None:
    index = index_of([])
    found = index.look_up(["i3", "gone", "i0"])
    assert found.items == ["i3", "i0"]
    assert found.columns == {"item": ["i3", "i0"]}
    assert [row["price"] for row in found.rows] == [3.0, 0.0]
    assert (list(found.origins), list(found.weights)) == ([(), ()], [0.0, 0.0])
    assert index.look_up([]).items == []
