"""At most so many items of a list share a value."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from fake_retriever import Row, item
from hypothesis import given
from hypothesis import strategies as st

from freshrank.serve.recommendation.diversity import diverse

ROWS = [item("a", 1.0), item("a", 2.0), item("b", 1.0), item("a", 3.0), item(None, 1.0)]


@pytest.mark.parametrize(
    ("most_per", "k", "chosen"),
    [
        ({}, 3, [0, 1, 2]),
        ({}, 9, [0, 1, 2, 3, 4]),
        ({"brand": 1}, 9, [0, 2, 4]),
        ({"brand": 2}, 9, [0, 1, 2, 4]),
        ({"brand": 2}, 3, [0, 1, 2]),
        ({"price": 1}, 9, [0, 1, 3]),
        ({"brand": 1, "price": 1}, 9, [0]),
        ({"brand": 2, "price": 1}, 9, [0, 1]),
    ],
)
def test_each_item_is_taken_that_those_before_it_leave_room_for(
    most_per: dict[str, int], k: int, chosen: list[int]
) -> None:
    assert diverse(range(5), ROWS, most_per, k) == chosen


def test_items_whose_field_is_none_are_not_limited() -> None:
    assert diverse(range(3), [item(None)] * 3, {"brand": 1}, 3) == [0, 1, 2]


def test_the_order_is_that_of_the_rank() -> None:
    assert diverse([3, 2, 0, 1], ROWS, {"brand": 1}, 9) == [3, 2]


ITEMS = st.builds(
    item,
    st.sampled_from(["a", "b", None]),
    st.sampled_from([1.0, 2.0, None]),
    st.sampled_from([0, 1, None]),
)


@given(
    st.lists(ITEMS, max_size=12),
    st.dictionaries(st.sampled_from(["brand", "price", "stock"]), st.integers(1, 3)),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_no_value_comes_more_often_and_whatever_is_left_out_has_no_room(
    rows: list[Row], most_per: dict[str, int], k: int, random: Random
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)
    chosen = diverse(order, rows, most_per, k)
    assert len(chosen) <= k
    assert [index for index in order if index in chosen] == chosen
    for field, most in most_per.items():
        counts = Counter(rows[index][field] for index in chosen)
        counts.pop(None, None)
        assert all(count <= most for count in counts.values())
    if len(chosen) < k:
        for index in set(order) - set(chosen):
            assert any(
                sum(rows[one][field] == rows[index][field] for one in chosen) >= most
                for field, most in most_per.items()
                if rows[index][field] is not None
            )
