"""Likeness beside cosines that are computed item by item, term by term."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freshrank.actors.messages import Ints
from freshrank.feature_actors.retrieval.content import postings
from freshrank.feature_actors.retrieval.content.likeness import Likeness

# Two fields: of three columns, and of one.
OWNERS = np.array([0, 0, 0, 1])
FIELDS = 2

Item = tuple[set[int], set[int]]
items = st.tuples(
    st.sets(st.integers(1, 9), max_size=3), st.sets(st.integers(101, 104), max_size=1)
)
shops = st.lists(items, min_size=2, max_size=12)


def terms_of(shop: Sequence[Item]) -> Ints:
    found = np.zeros((len(shop), len(OWNERS)), dtype=np.int64)
    for slot, (words, tags) in enumerate(shop):
        found[slot, : len(words)] = sorted(words)
        found[slot, 3 : 3 + len(tags)] = sorted(tags)
    return found


def rarities(shop: Sequence[Item]) -> dict[int, float]:
    known = sum(1 for words, tags in shop if words or tags)
    counts = Counter(term for words, tags in shop for term in words | tags)
    every = {*range(1, 10), *range(101, 105)}
    return {term: math.log((1 + known) / (1 + counts[term])) + 1 for term in every}


def cosine(one: set[int], other: set[int], rarity: dict[int, float]) -> float:
    if not one or not other:
        return 0.0
    shared = sum(rarity[term] ** 2 for term in one & other)
    lengths = [math.sqrt(sum(rarity[term] ** 2 for term in terms)) for terms in (one, other)]
    return shared / (lengths[0] * lengths[1])


def likeness(one: Item, other: Item, rarity: dict[int, float]) -> float:
    cosines = [cosine(one[field], other[field], rarity) for field in range(FIELDS)]
    return sum(cosines) / FIELDS


def check(found: Likeness, shop: Sequence[Item], rarity: dict[int, float]) -> None:
    terms = terms_of(shop)
    recent, shares = np.array([1, 0]), np.array([0.7, 0.3])
    expected = [[likeness(shop[one], item, rarity) for item in shop] for one in recent.tolist()]
    to = found.to(terms, recent, shares)
    assert to.tolist() == pytest.approx(list(shares @ np.array(expected)), abs=1e-5)
    for slot in range(len(shop)):
        between = found.between(terms, slot, recent)
        assert between.tolist() == pytest.approx([row[slot] for row in expected])


@given(shops)
def test_it_is_the_mean_of_the_cosines_of_the_fields(shop: list[Item]) -> None:
    check(Likeness.of(terms_of(shop), OWNERS), shop, rarities(shop))


@given(shops, st.lists(items, min_size=1, max_size=3), st.data())
def test_changes_show_at_once_with_the_rarities_of_before(
    shop: list[Item], new: list[Item], data: st.DataObject
) -> None:
    # As many that a few changes are not worth to count all anew.
    shop = [*shop, *[({1, 2}, {101})] * 60]
    slots = data.draw(
        st.lists(st.integers(0, len(shop) + 2), min_size=len(new), max_size=len(new), unique=True)
    )
    now = [*shop, *[(set[int](), set[int]())] * 3]
    before = Likeness.of(terms_of(shop), OWNERS)
    found = before
    for slot, item in zip(slots, new, strict=True):  # one by one: changes add up
        now[slot] = item
        found = found.changed(terms_of(now), np.array([slot]))
    assert found.whole is before.whole
    check(found, now, rarities(shop))


def test_after_many_changes_all_is_counted_anew() -> None:
    shop: list[Item] = [({1}, {101})] * 40
    found = Likeness.of(terms_of(shop), OWNERS)
    shop[:3] = [({2, 3}, {102})] * 3
    found = found.changed(terms_of(shop), np.arange(3))
    check(found, shop, rarities(shop))
    assert len(found.slots) == 0


def test_nothing_is_like_items_of_an_empty_catalogue() -> None:
    found = Likeness.of(terms_of([(set(), set())]), OWNERS)
    assert found.to(terms_of([(set(), set())]), np.array([0]), np.ones(1)).tolist() == [0.0]


def test_a_row_that_has_come_since_is_like_nothing_yet() -> None:
    before, now = [({1}, {101}), (set[int](), set[int]())], [({1}, {101}), ({1}, {101})]
    found = Likeness.of(terms_of(before), OWNERS)
    assert found.to(terms_of(now), np.array([1]), np.ones(1)).tolist() == [0.0, 0.0]
    assert found.between(terms_of(now), 0, np.array([1])).tolist() == [0.0]


def test_what_tells_most_is_read_where_all_is_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    shop: list[Item] = [({1, 2}, set()), ({1}, set()), ({1}, set()), ({2}, set()), ({3}, set())]
    found = Likeness.of(terms_of(shop), OWNERS)
    recent = np.array([0])
    whole = found.to(terms_of(shop), recent, np.ones(1))
    assert np.flatnonzero(whole).tolist() == [0, 1, 2, 3]
    monkeypatch.setattr(postings, "MOST_READ", 3)
    part = found.to(terms_of(shop), recent, np.ones(1))
    assert np.flatnonzero(part).tolist() == [0, 3], "and one posting of the other term"
    assert part[3] == whole[3]
