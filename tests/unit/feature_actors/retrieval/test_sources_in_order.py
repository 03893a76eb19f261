"""What users touched after the same items, and what the entity touched itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_catalogue import START_MS, clicks, item, item_rows, plan, table_records, user_rows

from freshrank import Count, CoVisited, DecayedCount, FollowedBy, LastK, Touched
from freshrank.actors.errors import ConfigError
from freshrank.actors.features.retrieval import CandidateOrigin, Query
from freshrank.feature_actors.retrieval.base import CandidateSource, ItemFeatures
from freshrank.feature_actors.retrieval.candidate_index import CandidateIndex
from freshrank.feature_actors.views.feature_view import FeatureView
from freshrank.feature_actors.views.plan import FeaturePlan

NAMES = [f"i{number}" for number in range(8)]
NOW_MS = START_MS + 100_000
FOLLOWED = "followed_by:users"

Events = Sequence[tuple[str, str, str]]


def index_of(events: Events, *sources: CandidateSource) -> CandidateIndex:
    index = CandidateIndex(replace(plan(), sources=sources), most=1_000)
    index.take_records(table_records([(name, {}) for name in NAMES]))
    slots = index.catalogue.slots_of(NAMES)
    rows = {table.name: item_rows(events, NAMES) for table in index.tables}
    index.take_rows(slots, rows, NOW_MS)
    index.rebuild()
    return index


def views_of(who: str, *items: str) -> Events:
    return [(who, item, "view") for item in items]


def brute_force(events: Events, recent: Sequence[str]) -> Mapping[str, float]:
    """The weights of items that followed; `recent` has the newest first."""
    own, users = defaultdict[str, list[str]](list), defaultdict[str, set[str]](set)
    for who, what, _ in events:
        if what in own[who]:
            own[who].remove(what)
        own[who].append(what)
        users[what].add(who)
    found = defaultdict[str, float](float)
    for turn, one in enumerate(recent, 1):
        for items in own.values():
            if one in items:
                begin = items.index(one) + 1
                for gap, after in enumerate(items[begin : begin + 10], 1):
                    found[after] += 1 / (turn * gap)
    return {name: weight / len(users[name]) ** 0.25 for name, weight in found.items()}


@given(
    st.lists(
        st.tuples(st.sampled_from("uvwxyz"), st.sampled_from(NAMES), st.just("view")), max_size=40
    ),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
)
def test_items_that_followed_weigh_as_the_formula_says(events: Events, recent: list[str]) -> None:
    index = index_of(events, FollowedBy("users"))
    expected = brute_force(events, recent)
    found = index.retrieve(Query(most=100, at_ms=NOW_MS, items=recent))
    others = {name: weight for name, weight in expected.items() if name not in recent}
    assert dict(zip(found.items, found.weights, strict=True)) == pytest.approx(others)
    assert list(found.weights) == sorted(found.weights, reverse=True)
    rows = user_rows(views_of("me", *reversed(recent)), "me")
    weighed = index.weigh(rows, {"item": [*NAMES, "of no catalogue"]}, NOW_MS)[FOLLOWED]
    mean = sum(expected.values()) / max(len(expected), 1) or 1.0
    relative = [expected.get(name, 0.0) / (10 * mean) for name in NAMES]
    assert list(weighed) == pytest.approx([*relative, 0.0])


def test_an_answer_says_which_items_a_candidate_followed() -> None:
    events = [
        *views_of("u", "i0", "i1", "i2"),
        *views_of("v", "i1", "i2"),
        *views_of("w", "i2", "i0"),
    ]
    index = index_of(events, FollowedBy("users"))
    found = index.retrieve(Query(most=1, at_ms=NOW_MS, items=["i0", "i1", "i5"]))
    assert list(found.items) == ["i2"]
    assert list(found.origins[0]) == [CandidateOrigin(FOLLOWED, ["i1", "i0"])]


def test_an_index_without_touches_gives_nothing() -> None:
    index = index_of([], FollowedBy("users"), Touched())
    found = index.retrieve(Query(most=5, at_ms=NOW_MS, rows=user_rows([], "me")))
    assert list(found.items) == []
    assert dict(found.found) == {FOLLOWED: 0, "touched": 0}


def test_what_was_touched_is_given_unless_it_is_left_out() -> None:
    index = index_of([], Touched())
    rows = user_rows(views_of("me", "i3", "i1", "i7"), "me")
    found = index.retrieve(Query(most=2, at_ms=NOW_MS, rows=rows))
    assert list(found.items) == ["i7", "i1"]
    assert list(found.weights) == [1.0, 0.5]
    left = index.retrieve(Query(most=5, at_ms=NOW_MS, rows=rows, exclude_seen=["recent"]))
    assert list(left.items) == []
    weighed = index.weigh(rows, {"item": ["i1", "i2", "i3", "i7"]}, NOW_MS)
    assert list(weighed["touched"]) == pytest.approx([1 / 2, 0.0, 1 / 3, 1.0])


def features_of(view: type[FeatureView]) -> ItemFeatures:
    items = plan().items
    return replace(items, plan=FeaturePlan([view], [items.table]))


def test_times_are_asked_for() -> None:
    class Counted(FeatureView):
        entity, source = item, clicks
        viewed = Count(windows=["1h"])
        users = DecayedCount(by="user", half_life="1d", top=8)

    class Listed(FeatureView):
        entity, source = item, clicks
        viewed = Count(windows=["1h"])
        users = LastK("user", k=8)
        items = LastK("item", k=8)

    CoVisited("users").check(features_of(Counted), "here")
    FollowedBy("users").check(features_of(Listed), "here")
    with pytest.raises(ConfigError, match=r"here\.users.*has no times"):
        FollowedBy("users").check(features_of(Counted), "here")
    with pytest.raises(ConfigError, match=r"lists 'item', not 'user'"):
        FollowedBy("items").check(features_of(Listed), "here")
