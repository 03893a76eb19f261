"""POST /v1/score/batch: several requests at once, each with an answer of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from http_calls import candidates, get, post, score
from serving import ReplicaUnderTest

from freshrank.actors.errors import RequestError
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.scoring.score_batch import ScoreBatch


def request(user: object = "u1", *items: int, **changes: Any) -> dict[str, Any]:
    return {"user": user, "candidates": candidates(*items or (3, 4, 5))} | changes


def batch(replica: ReplicaUnderTest, *requests: object) -> httpx.Response:
    return post(replica, "/v1/score/batch", json={"requests": list(requests)})


def test_each_request_is_answered_as_by_itself(replica: ReplicaUnderTest) -> None:
    replica.store.kept |= {b"row:u1": b"4", b"row:u2": b"5"}
    answer = batch(replica, request("u1"), request("u2"), request("u1", 4, show=0)).json()
    entries = answer["answers"]
    assert [one["status"] for one in entries] == [200, 200, 200]
    assert [one["answer"]["scores"] for one in entries] == [
        [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.9]
    ]  # fmt: skip
    assert all(one["error"] is None for one in entries)
    ids = [one["answer"]["request_id"] for one in entries]
    assert len(set(ids)) == 3
    own = score(replica).json()
    for name in ("scores", "ranking", "model"):
        assert entries[0]["answer"][name] == own[name]


def test_the_rows_of_all_are_read_at_once(replica: ReplicaUnderTest) -> None:
    async def story() -> None:
        body = msgspec.json.encode({"requests": [request(f"u{number}") for number in range(50)]})
        await ScoreBatch(replica.service).score(body)

    asyncio.run(story())
    assert replica.store.reads == [[f"row:u{number}".encode() for number in range(50)]]


def test_each_is_refused_on_its_own(replica: ReplicaUnderTest) -> None:
    answer = batch(
        replica,
        request(5),
        request("u1"),
        request("u1", min_version="9.9"),
        7,
        request("u1", candidates=[{}, *candidates(3)], on_bad_candidate="skip"),
    )
    assert answer.status_code == 200
    entries = answer.json()["answers"]
    assert [one["status"] for one in entries] == [422, 200, 409, 422, 200]
    fields = [one["error"] and one["error"]["field"] for one in entries]
    assert fields == ["user", None, "min_version", "body", None]
    assert [one["answer"] is None for one in entries] == [True, False, True, True, False]
    assert entries[4]["answer"]["scores"] == [None, 0.1]


def test_all_that_are_answered_are_counted_and_logged(replica: ReplicaUnderTest) -> None:
    batch(replica, request("u1"), request(5), request("u2"))
    text = get(replica, "/metrics").text
    assert "freshrank_score_seconds_count 2.0" in text
    assert 'freshrank_impressions_total{outcome="logged"} 2.0' in text


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"requests": []}, "requests", "length >= 1"),
        ({"requests": [1] * 4}, "requests", "length <= 3"),
        ({"requests": [request("u", 1, 2, 3)] * 2}, "requests", "6 candidates together, at most 5"),
        ({}, "requests", "missing required field"),
        ({"requests": [1], "x": 1}, "body", "unknown field `x`. It takes: `requests`"),
    ],
)
def test_a_batch_that_is_wrong_as_a_whole_is_refused(
    body: dict[str, Any], field: str, reason: str
) -> None:
    few = ReplicaUnderTest(RequestLimits(batch=3, batch_candidates=5))
    answer = post(few, "/v1/score/batch", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
    assert reason in answer.json()["error"]["reason"]
    assert get(few, "/v1/pipeline").json()["bounds"]["batch"] == 3


class Broken(RuntimeError):
    """A defect of ours."""


def test_a_defect_fails_the_whole_batch(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(call: object, request_id: str | None) -> None:
        raise Broken

    monkeypatch.setattr(replica.service, "answer", broken)
    with pytest.raises(Broken):
        asyncio.run(
            ScoreBatch(replica.service).score(msgspec.json.encode({"requests": [request()]}))
        )
    with pytest.raises(RequestError):
        asyncio.run(ScoreBatch(replica.service).score(b"{"))
