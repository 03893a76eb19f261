"""What every source of candidates has to do, over random catalogues, events and queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_catalogue import START_MS, item_rows, plan, table_records, user_rows

from freshrank import (
    CoVisited,
    Embedded,
    FollowedBy,
    Listed,
    Newest,
    Popular,
    SimilarContent,
    Touched,
)
from freshrank.actors.features.retrieval import Query, Retrieved
from freshrank.feature_actors.retrieval.base import CandidateSource
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex

NAMES = [f"i{number}" for number in range(8)]
BRANDS = ["red", "red dots", "blue", "blue dots"]
NOW_MS = START_MS + 100_000

SOURCES: Sequence[CandidateSource] = [
    CoVisited("users"),
    Embedded("users", dim=4),
    FollowedBy("users"),
    Listed("front page", NAMES[::2]),
    Newest(),
    Popular("viewed_1h"),
    Popular("viewed_1h", per="brand"),
    SimilarContent(words=["brand"], tags=["shelf"]),
    Touched(),
]
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
# Those that find something for an item that nobody has touched.
OF_ROWS = [one for one in SOURCES if one.name.startswith(("listed", "newest", "similar_content"))]

Events = Sequence[tuple[str, str, str]]
events = st.lists(
    st.tuples(st.sampled_from("uvwx"), st.sampled_from(NAMES), st.just("view")), max_size=30
)
touched = st.lists(st.sampled_from(NAMES), max_size=4, unique=True)


def row(number: int) -> dict[str, object]:
    return {"brand": BRANDS[number % 4], "shelf": number % 3}


def index_of(source: CandidateSource, seen: Events) -> CandidateIndex:
    index = CandidateIndex(replace(plan(), sources=[source]), most=1_000)
    index.take_records(table_records([(name, row(at)) for at, name in enumerate(NAMES)]))
    read_rows(index, seen)
    return index


def read_rows(index: CandidateIndex, seen: Events) -> None:
    names = [name for name in [*NAMES, "late"] if index.knows(name)]
    rows = {table.name: item_rows(seen, names) for table in index.tables}
    index.take_rows(index.catalogue.slots_of(names), rows, NOW_MS)
    index.rebuild()


def ask(index: CandidateIndex, own: Sequence[str], most: int = 100, *exclude: str) -> Retrieved:
    rows = user_rows([("me", name, "view") for name in reversed(own)], "me")
    return index.retrieve(Query(most=most, at_ms=NOW_MS, rows=rows, exclude=exclude))


@each_source
@settings(max_examples=30)
@given(seen=events, own=touched, most=st.integers(1, 9), excluded=st.sampled_from(NAMES))
def test_it_gives_as_many_as_are_wanted_each_once_and_the_best_first(
    source: CandidateSource, seen: Events, own: list[str], most: int, excluded: str
) -> None:
    index = index_of(source, seen)
    every = ask(index, own, 100, excluded)
    found = ask(index, own, most, excluded)
    assert excluded not in every.items
    assert len(set(every.items)) == len(every.items) == every.found[source.name]
    assert len(found.items) == min(most, len(every.items))
    assert list(found.weights) == pytest.approx(list(every.weights)[:most], rel=1e-4)
    if source.name != "popular:viewed_1h/brand":  # brands come one after the other
        assert list(every.weights) == sorted(every.weights, reverse=True)
    for origins in every.origins:
        (origin,) = origins
        assert origin.source == source.name
        assert set(origin.because) <= set(own)


@each_source
@settings(max_examples=30)
@given(seen=events, own=touched)
def test_an_item_that_left_is_not_given_nor_named(
    source: CandidateSource, seen: Events, own: list[str]
) -> None:
    index = index_of(source, seen)
    index.take_records(table_records([("i1", None), ("i2", None)]))
    index.take_records(table_records([("late", {"brand": "green"})]))
    for _ in range(2):
        found = ask(index, own)
        assert not {"i1", "i2"} & set(found.items)
        for (origin,) in found.origins:
            assert not {"i1", "i2"} & set(origin.because)
        read_rows(index, seen)


@each_source
def test_nothing_is_given_of_an_empty_catalogue(source: CandidateSource) -> None:
    index = CandidateIndex(replace(plan(), sources=[source]), most=1_000)
    assert list(ask(index, NAMES[:2]).items) == []
    index.rebuild()
    assert list(ask(index, NAMES[:2]).items) == []


@pytest.mark.parametrize("source", OF_ROWS, ids=lambda source: source.name)
def test_an_item_that_nobody_touched_is_given(source: CandidateSource) -> None:
    index = index_of(source, [])
    assert "i4" in ask(index, ["i0"]).items


@each_source
@settings(max_examples=30)
@given(seen=events, own=touched)
def test_what_is_learned_is_a_weight_of_every_candidate(
    source: CandidateSource, seen: Events, own: list[str]
) -> None:
    index = index_of(source, seen)
    learned = ask(index, own).learned
    assert set(learned) == ({source.name} if source.learned else set())
    assert all(weight >= 0.0 for weights in learned.values() for weight in weights)
