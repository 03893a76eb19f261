"""Items of a list share few values of fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random

import numpy as np
import pytest
from fake_retriever import Row, item
from hypothesis import given
from hypothesis import strategies as st

from freshrank.serve.recommendation.diversity import Diversity, Mmr

NO_WORTH = np.zeros(12)


def diverse(
    order: Sequence[int], rows: Sequence[Row], most: Mapping[str, int], k: int
) -> list[int]:
    return Diversity(most).choose(order, rows, NO_WORTH, k)


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


BRANDS = [item("a"), item("a"), item("b"), item(None), item(None)]
WORTH = np.array([1.0, 0.9, 0.5, 0.4, 0.0])


@pytest.mark.parametrize(
    ("weight", "k", "chosen"),
    [
        (1.0, 5, [0, 1, 2, 3, 4]),  # by worth alone
        (0.9, 5, [0, 1, 2, 3, 4]),  # 0.81 - 0.1 is more than 0.45
        (0.5, 5, [0, 2, 3, 4, 1]),  # 0.45 - 0.5 is less than anything unlike the first
        (0.5, 2, [0, 2]),
        (0.0, 3, [0, 2, 3]),
    ],
)
def test_what_is_like_an_item_before_it_has_to_be_worth_more(
    weight: float, k: int, chosen: list[int]
) -> None:
    diversity = Diversity(mmr=Mmr(weight, ["brand"]))
    assert diversity.choose(range(5), BRANDS, WORTH, k) == chosen


def test_likeness_is_the_share_of_equal_fields_and_worth_does_not_depend_on_its_scale() -> None:
    rows = [item("a", 1.0), item("a", 1.0), item("a", 2.0)]
    diversity = Diversity(mmr=Mmr(0.5, ["brand", "price"]))
    for scale in (1.0, 1e-6):
        worth = np.array([1.0, 0.4, 0.0]) * scale
        assert diversity.choose(range(3), rows, worth, 3) == [0, 2, 1]  # 0 - 0.25, 0.2 - 0.5


def test_both_limits_hold_together() -> None:
    diversity = Diversity({"stock": 2}, Mmr(0.5, ["brand"]))
    assert diversity.choose(range(5), BRANDS, WORTH, 5) == [0, 2]
    assert diversity.choose([], BRANDS, WORTH, 5) == []


def test_each_page_differs_in_itself_and_none_repeats_an_item() -> None:
    one = Diversity({"brand": 1})
    assert one.pages(range(5), BRANDS, WORTH, 2, 9) == [[0, 2], [1, 3], [4]]
    assert one.pages(range(5), BRANDS, WORTH, 2, 2) == [[0, 2], [1, 3]]
    assert Diversity().pages(range(5), BRANDS, WORTH, 3, 9) == [[0, 1, 2], [3, 4]]
    assert Diversity().pages([], BRANDS, WORTH, 3, 9) == []
