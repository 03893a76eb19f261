"""Items that are near in an embedding of who touched what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import START_MS, item_rows, plan, table_records

from freshrank import CoVisited, Embedded
from freshrank.actors.errors import ConfigError
from freshrank.actors.features.retrieval import CandidateOrigin, Query
from freshrank.actors.messages import Floats, Ints
from freshrank.feature_actors.retrieval.base import CandidateSource
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex
from freshrank.feature_actors.retrieval.sources.item_vectors import item_vectors

NAMES = [f"i{number}" for number in range(8)]
NOW_MS = START_MS + 100_000
EMBEDDED = "embedded:users"

Events = Sequence[tuple[str, str, str]]


def views_of(who: str, *items: str) -> Events:
    return [(who, item, "view") for item in items]


CHAIN = [*views_of("u", "i0", "i1"), *views_of("v", "i1", "i2")]


def index_of(events: Events, *sources: CandidateSource) -> CandidateIndex:
    index = CandidateIndex(replace(plan(), sources=sources), most=1_000)
    index.take_records(table_records([(name, {}) for name in NAMES]))
    read_rows(index, events)
    return index


def read_rows(index: CandidateIndex, events: Events) -> None:
    slots = index.catalogue.slots_of(NAMES)
    index.take_rows(slots, {one.name: item_rows(events, NAMES) for one in index.tables}, NOW_MS)
    index.rebuild()


def found_for(index: CandidateIndex, *items: str, most: int = 100) -> list[str]:
    return list(index.retrieve(Query(most=most, at_ms=NOW_MS, items=items)).items)


def touched(seed: int, items: int = 60, people: int = 40) -> Ints:
    """Lists of users by item, who have one of three tastes each."""
    random = np.random.default_rng(seed)
    users = np.zeros((items, 12), np.int64)
    for one in range(items):
        own = np.flatnonzero(np.arange(people) % 3 == one % 3)
        chosen = random.choice(own, random.integers(1, 12), replace=False) + 1
        users[one, : len(chosen)] = chosen
    return users


def projection(vectors: Floats) -> Floats:
    products: Floats = vectors @ vectors.T
    return products


def test_vectors_span_the_leading_singular_vectors() -> None:
    users = touched(seed=1)
    seen = (users[:, :, None] == np.arange(1, 41)).any(axis=1).astype(float)
    by_user, by_item = np.maximum(seen.sum(0), 1) ** -0.5, seen.sum(1) ** -0.25
    left, sizes, _ = np.linalg.svd(seen * by_item[:, None] * by_user)
    assert sizes[2] > 1.5 * sizes[3], "three tastes stand out"
    expected = left[:, :3] @ left[:, :3].T
    assert projection(item_vectors(users, 3)) == pytest.approx(expected, abs=0.01)


def test_vectors_follow_what_is_touched() -> None:
    before, now = touched(seed=1), touched(seed=2)
    vectors = item_vectors(before, 3)
    assert projection(vectors) != pytest.approx(projection(item_vectors(now, 3)), abs=0.03)
    for _ in range(6):
        vectors = item_vectors(now, 3, vectors)
    assert projection(vectors) == pytest.approx(projection(item_vectors(now, 3)), abs=0.01)


def test_more_items_have_vectors_after_the_first_round() -> None:
    users = touched(seed=1)
    vectors = item_vectors(users, 3, item_vectors(users[:50], 3))
    assert np.count_nonzero(vectors.any(axis=1)) == len(users)


@pytest.mark.parametrize("users", [np.zeros((0, 4), np.int64), np.zeros((5, 4), np.int64)])
def test_without_touches_all_vectors_are_zero(users: Ints) -> None:
    assert not item_vectors(users, 4).any()


def test_an_item_is_found_that_no_user_of_the_entitys_items_has_touched() -> None:
    index = index_of(CHAIN, Embedded("users", dim=1), CoVisited("users"))
    both = index.retrieve(Query(most=100, at_ms=NOW_MS, items=["i0"]))
    assert set(both.items) == {"i1", "i2"}
    assert dict(both.found) == {EMBEDDED: 2, "co_visited:users": 1}
    assert list(both.origins[list(both.items).index("i2")]) == [CandidateOrigin(EMBEDDED, ["i0"])]


@given(
    st.lists(
        st.tuples(st.sampled_from("uvwxyz"), st.sampled_from(NAMES), st.just("view")), max_size=40
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
    st.integers(1, 8),
)
def test_the_answer_is_that_of_all_products(events: Events, recent: list[str], most: int) -> None:
    index = index_of(events, Embedded("users", dim=4))
    users = np.zeros((len(NAMES), 8), np.int64)
    for slot, name in enumerate(NAMES):
        of_item = sorted({ord(who) for who, what, _ in events if what == name})
        users[slot, : len(of_item)] = of_item
    vectors = dict(zip(NAMES, item_vectors(users, 4), strict=True))
    wanted = sum(vectors[name] / np.sqrt(turn) for turn, name in enumerate(recent, 1))
    products = {name: float(vectors[name] @ wanted) for name in NAMES}
    least = 1e-3 * max(products.values())
    best = {
        name: product
        for name, product in products.items()
        if product > least and name not in [*recent, "i7"]
    }
    found = index.retrieve(
        Query(most=most, at_ms=NOW_MS, items=recent, exclude=["i7"], sources=[EMBEDDED])
    )
    assert list(found.weights) == sorted(found.weights, reverse=True)
    clear = [weight for weight in found.weights if weight > least]
    assert clear == pytest.approx(sorted(best.values(), reverse=True)[:most], rel=0.01)


def test_an_item_that_leaves_is_found_no_more_and_its_slot_means_nothing() -> None:
    index = index_of(CHAIN, Embedded("users", dim=1))
    assert found_for(index, "i0") == ["i1", "i2"]
    index.take_records(table_records([("i2", None)]))
    assert found_for(index, "i0") == ["i1"]
    index.take_records(table_records([("new", {})]))
    assert found_for(index, "i0") == ["i1"]
    assert found_for(index, "new") == []


def test_an_item_that_has_come_is_found_with_its_first_user() -> None:
    index = index_of(CHAIN, Embedded("users", dim=1))
    assert found_for(index, "i5") == []
    read_rows(index, [*CHAIN, *views_of("v", "i5")])
    assert set(found_for(index, "i5")) == {"i0", "i1", "i2"}


@pytest.mark.parametrize("dim", [0, 257])
def test_a_vector_without_numbers_is_refused(dim: int) -> None:
    with pytest.raises(ConfigError, match=r"here\.dim: .*Give 1 to 256"):
        Embedded("users", dim=dim).check(plan().items, "here")
