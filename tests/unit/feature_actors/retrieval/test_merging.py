"""Which candidates come first: by how often each source was right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.feature_actors.retrieval.base import Found
from freshrank.feature_actors.retrieval.merging import SourceHits, merged

NOW_MS, DAY_MS = 1_700_000_000_000, 86_400_000


def lists(**slots: Sequence[int]) -> dict[str, Found]:
    return {
        name: Found(np.array(one, dtype=np.int64), 1.0 / np.arange(1.0, 1.0 + len(one)))
        for name, one in slots.items()
    }


def touched(*slots: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(slots, dtype=np.int64)


def after(visits: int, found: Mapping[str, Found], items: Sequence[int]) -> SourceHits:
    """Of `visits` entities, each of which touched one of `items` after it was given `found`."""
    hits = SourceHits()
    for number in range(visits):
        hits.take(f"u{number}", NOW_MS, touched(900), found)
        hits.take(f"u{number}", NOW_MS, touched(items[number % len(items)], 900), found)
    return hits


RIGHT, WRONG = range(40), range(100, 140)


def test_a_source_that_was_right_fills_most_of_the_places() -> None:
    found = lists(wrong=WRONG, right=RIGHT)
    slots, _ = merged(found, 20, SourceHits())
    assert np.isin(slots, RIGHT).sum() == 10, "nothing is known yet: they take turns"
    slots, _ = merged(found, 20, after(200, found, RIGHT))
    assert np.isin(slots, RIGHT).sum() >= 17
    assert np.isin(slots, WRONG).sum() >= 1, "each source goes on to be shown"
    assert slots[:2].tolist() == [100, 0], "a tenth of the places is taken in turn"


def test_what_was_touched_counts_for_a_source_whether_or_not_it_was_among_the_candidates() -> None:
    found = lists(wrong=WRONG, right=RIGHT)
    hits = after(50, found, [39])  # the last of its list
    assert hits.shares() == {"wrong": 0.0, "right": 1.0}


def test_several_items_touched_meanwhile_count_in_part() -> None:
    hits = SourceHits()
    hits.take("u", NOW_MS, touched(900), lists(a=[1, 2], b=[3]))
    hits.take("u", NOW_MS, touched(7, 2, 3, 4, 900), lists(a=[1], b=[3]))
    assert hits.shares() == {"a": 0.25, "b": 0.25}


def test_lists_are_judged_once_and_only_when_something_was_touched() -> None:
    hits = SourceHits()
    hits.take("u", NOW_MS, touched(900), lists(a=[1]))
    hits.take("u", NOW_MS, touched(900), lists(a=[2]))
    assert hits.shares() == {}
    hits.take("u", NOW_MS, touched(1, 900), lists(a=[3]))
    assert hits.shares() == {"a": 1.0}, "by the list of before the touch"
    hits.take("u", NOW_MS, touched(1, 900), lists(a=[4]))
    assert hits.shares() == {"a": 1.0}


def test_an_entity_that_has_touched_nothing_is_not_judged() -> None:
    hits = SourceHits()
    hits.take("u", NOW_MS, touched(), lists(a=[1]))
    hits.take("u", NOW_MS, touched(1), lists(a=[1]))
    assert hits.shares() == {}


def test_lists_of_who_was_forgotten_are_not_kept_nor_those_of_a_day_before() -> None:
    hits = SourceHits()
    hits.take("ann", NOW_MS, touched(900), lists(a=[1]))
    hits.take("ben", NOW_MS + 1, touched(900), lists(a=[1]))
    hits.take("ann", NOW_MS + 2, touched(), lists(a=[1]))
    assert hits.waiting == 1, "ann has touched nothing: she is new, or was forgotten"
    hits.take("new", NOW_MS + DAY_MS + 1, touched(), lists(a=[1]))
    assert hits.waiting == 1
    hits.take("new", NOW_MS + DAY_MS + 2, touched(), lists(a=[1]))
    assert hits.waiting == 0


def test_lists_of_entities_that_do_not_come_back_are_forgotten() -> None:
    hits, found = SourceHits(), lists(a=[1])
    for number in range(1_001):
        hits.take(f"u{number}", NOW_MS, touched(900), found)
    hits.take("u0", NOW_MS, touched(1, 900), found)
    assert hits.shares() == {}, "its list was the oldest"
    hits.take("u2", NOW_MS, touched(1, 900), found)
    assert hits.shares() == {"a": 1.0}


def test_what_was_lately_counts_more() -> None:
    early, late = lists(a=[1], b=[2]), lists(a=[2], b=[1])
    hits = SourceHits()
    for number, found in enumerate([early] * 4_000 + [late] * 4_000):
        hits.take(f"u{number}", NOW_MS, touched(900), found)
        hits.take(f"u{number}", NOW_MS, touched(1, 900), found)
    assert hits.shares()["b"] > 0.6


def test_rates_do_not_rise_with_the_rank() -> None:
    found = lists(a=range(64))
    hits = after(500, found, [40])
    rates = hits.rates("a", 64)
    assert (np.diff(rates) <= 0).all()
    assert hits.rates("never asked", 64) == pytest.approx(np.sort(hits.rates("b", 64))[::-1])


@given(
    st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 30), unique=True), min_size=1),
    st.integers(1, 40),
    st.lists(st.integers(0, 30), max_size=30),
)
def test_merged_items_are_different_and_as_many_as_there_are(
    found: Mapping[str, list[int]], most: int, items: list[int]
) -> None:
    given_lists, hits = lists(**found), SourceHits()
    for number, item in enumerate(items):
        hits.take(f"u{number % 3}", NOW_MS, touched(item, 900), given_lists)
    slots, weights = merged(given_lists, most, hits)
    every = {slot for one in found.values() for slot in one}
    assert len(slots) == len(set(slots.tolist())) == min(most, len(every)) == len(weights)
    assert every.issuperset(slots.tolist())
