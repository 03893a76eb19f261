"""The part of Feast's reads that needs no Feast: how requests are asked and counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from freshrank.benchmarks.peers.peer_features import WARM_UP, columns, measured, ways


class FakeStore:
    """Has the features of every user and item, or of none."""

    def __init__(self, value: float | None = 1.0) -> None:
        self.asked: list[tuple[int, int]] = []
        self._value = value

    def get_online_features(
        self, features: Sequence[str], entity_rows: Sequence[dict[str, str]], **_: bool
    ) -> FakeStore:
        self.asked.append((len(features), len(entity_rows)))
        self._rows = len(entity_rows)
        return self

    def to_dict(self) -> dict[str, list[float | None]]:
        return {"of_item__f0": [self._value] * self._rows}


WIDTHS = {"user": 3, "item": 2}


def test_one_call_repeats_the_user_and_two_calls_do_not() -> None:
    store = FakeStore()
    at_once, apart = ways(store, WIDTHS).values()
    assert at_once("user1", ["item1", "item2"]) == apart("user1", ["item1", "item2"]) == 2
    assert store.asked == [(5, 2), (3, 1), (2, 2)]


def test_each_request_but_those_before_is_counted() -> None:
    store = FakeStore()
    found = measured(ways(store, WIDTHS)["one_call"], requests=3, candidates=4)
    assert len(found["latencies_ms"]) == 3
    assert store.asked == [(5, 4)] * (WARM_UP + 3)
    assert columns(2) == ["f0", "f1"]


def test_a_store_without_the_rows_ends_the_run() -> None:
    with pytest.raises(SystemExit, match="0 of 4 items have features"):
        measured(ways(FakeStore(None), WIDTHS)["two_calls"], requests=1, candidates=4)
