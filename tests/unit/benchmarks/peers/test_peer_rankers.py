"""The part of the other rankers that needs NumPy alone: what is known when a list is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from freshrank.benchmarks.peers.peer_rankers import DAY_MS, Popularity, TouchHistory, place_of


def arrays(*, repeats: bool) -> dict[str, Any]:
    return {
        "users": np.array([0, 0, 1, 0]),
        "items": np.array([0, 1, 1, 0]),
        "categories": np.array([4, 5, 5, 4]),
        "times_ms": np.array([0, DAY_MS, 2 * DAY_MS, 9 * DAY_MS]),
        "repeats": np.bool_(repeats),
    }


def test_counts_are_those_of_the_moment_and_of_their_window() -> None:
    history = TouchHistory(arrays(repeats=False))
    for _ in range(3):
        history.add()
    assert Popularity(history).scores(0).tolist() == [1.0, 2.0]
    history.forget_until(8 * DAY_MS + 1)
    assert Popularity(history, "popularity_7d").scores(0).tolist() == [0.0, 1.0]
    assert Popularity(history).scores(0).tolist() == [1.0, 2.0]
    assert history.categories.tolist() == [4, 5]


def test_a_users_items_are_in_the_order_of_their_last_touches() -> None:
    history = TouchHistory(arrays(repeats=False))
    for _ in range(4):
        history.add()
    assert list(history.own[0]) == [1, 0]
    assert history.unwanted(0) == [1, 0]
    assert TouchHistory(arrays(repeats=True)).unwanted(0) == []


def test_the_place_of_an_item_counts_what_is_before_it() -> None:
    scores, wanted = np.array([3.0, 1.0, 3.0, 9.0]), np.array([True, True, True, False])
    assert [place_of(item, scores, wanted) for item in range(4)] == [1, 3, 2, 0]
    many = np.arange(30.0)
    assert place_of(10, many, many >= 0) == 20
    assert place_of(9, many, many >= 0) == 0
