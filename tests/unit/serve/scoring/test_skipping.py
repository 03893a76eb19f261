"""Candidates that are wrong: one is named, and skipped where a request wants it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from http_calls import candidates, get, score
from serving import ReplicaUnderTest, TwoTables

GOOD = candidates(3, 4, 5)
BAD: list[tuple[Any, str, str]] = [
    ({"item_id": "x", "note": "n", "price": 1.5}, "candidates[1].item_id", "got `str`"),
    ({"item_id": 9, "note": "", "price": 1.5}, "candidates[1].note", "length >= 1"),
    ({"item_id": 9, "note": "n"}, "candidates[1].price", "missing required field `price`"),
    ({**GOOD[0], "prise": 1}, "candidates[1]", "unknown field `prise`; did you mean `price`?"),
    (7, "candidates[1]", "got `int`"),
    (None, "candidates[1]", "got `null`"),
]


def skipping(replica: ReplicaUnderTest, **changes: Any) -> Any:
    answer = score(replica, on_bad_candidate="skip", **changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("bad", "place", "reason"), BAD)
def test_one_bad_candidate_is_named_or_skipped(
    replica: ReplicaUnderTest, bad: object, place: str, reason: str
) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    mixed = [GOOD[0], bad, GOOD[1], GOOD[2]]
    for mode in ({}, {"on_bad_candidate": "fail"}):
        refused = score(replica, candidates=mixed, **mode)
        assert refused.status_code == 422
        assert refused.json()["error"]["field"] == place
        assert reason in refused.json()["error"]["reason"]
    answer = skipping(replica, candidates=mixed)
    assert answer["scores"] == [0.1, None, 0.9, 0.1]
    assert answer["ranking"] == [2, 0, 3]
    (skipped,) = answer["skipped"]
    assert (skipped["index"], skipped["field"]) == (1, place)
    assert reason in skipped["reason"]


def test_another_way_with_bad_candidates_is_told_those_there_are(replica: ReplicaUnderTest) -> None:
    error = score(replica, on_bad_candidate="skp").json()["error"]
    assert error["field"] == "on_bad_candidate"
    assert error["reason"].endswith("did you mean `skip`? It takes: `fail`, `skip`")


def test_where_all_are_right_nothing_is_told_of_skipping(replica: ReplicaUnderTest) -> None:
    plain, asked = score(replica).json(), skipping(replica, candidates=GOOD)
    assert "skipped" not in asked
    assert asked["scores"] == plain["scores"]


def test_only_what_is_scored_is_shown_and_counted(replica: ReplicaUnderTest) -> None:
    answer = skipping(replica, candidates=[{}, GOOD[2], {}, GOOD[0]], show=2)
    assert [one["index"] for one in answer["skipped"]] == [0, 2]
    (logged,) = replica.impressions()
    shown = np.frombuffer(logged.join_keys, np.int64)
    assert shown.tolist() == [5, 3]
    text = get(replica, "/metrics").text
    assert "freshrank_candidates_skipped_total 2.0" in text
    assert "freshrank_candidates_total 2.0" in text


def test_rows_are_missing_by_the_indices_of_the_request() -> None:
    replica = ReplicaUnderTest(features=TwoTables())
    replica.store.kept = {b"user:u1": b"70", b"item:3": b"70"}
    answer = skipping(replica, candidates=[{}, *candidates(3, 4)])
    assert answer["candidate_rows"]["catalogue"]["missing"] == [2]
    assert answer["scores"] == [None, 0.9, 0.1]


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": [{}, 7]},
        {"candidates": []},
        {"candidates": [{}, *GOOD], "user": 5},
        {"candidates": [{}, *GOOD], "shw": 5},
        {"candidates": [{}] * 1_001},
    ],
)
def test_what_else_is_wrong_is_refused_all_the_same(
    replica: ReplicaUnderTest, changes: dict[str, Any]
) -> None:
    wanted = score(replica, **changes).json()["error"]["reason"]
    answer = score(replica, on_bad_candidate="skip", **changes)
    assert answer.status_code == 422
    assert answer.json()["error"]["reason"] == wanted
