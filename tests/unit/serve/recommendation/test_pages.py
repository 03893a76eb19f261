"""Boosts, following pages and reasons of POST /v1/recommend."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from fake_retriever import FakeRetriever, item
from http_calls import candidates, get, post, talk
from serving import ReplicaUnderTest

from freshrank.actors.impressions import Impression
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.recommendation.following_pages import text_of


@pytest.fixture
def retriever() -> FakeRetriever:
    return FakeRetriever(
        {str(key): item("a" if key < 6 else "b", float(key)) for key in range(3, 9)}
    )


@pytest.fixture
def replica(retriever: FakeRetriever) -> ReplicaUnderTest:
    made = ReplicaUnderTest(retriever=retriever)
    made.store.kept[b"row:u1"] = b"7"
    return made


def body(**changes: Any) -> dict[str, Any]:
    return {"user": "u1", "exclude_seen": False} | changes


def recommend(replica: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    return post(replica, "/v1/recommend", json=body(**changes))


def ids(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


def logged(replica: ReplicaUnderTest) -> list[Impression]:
    """In the order of the log."""
    return sorted(replica.impressions(), key=lambda one: one.at_ms)


def test_boosts_multiply_the_scores_of_items_that_pass(replica: ReplicaUnderTest) -> None:
    boosts = [
        {"filters": {"brand": "b"}, "factor": 2},
        {"filters": {"price": {"ge": 5}, "brand": "a"}, "factor": 30},
        {"filters": {"price": 8}, "factor": 3},
    ]
    answer = recommend(replica, boosts=boosts)
    found = [(one["id"], one["score"], one["boosted_score"]) for one in answer.json()["items"]]
    assert found == [
        (5, 0.1, 3.0),
        (7, 0.9, 1.8),
        (8, 0.1, 0.6),
        (6, 0.1, 0.2),
        (3, 0.1, 0.1),
        (4, 0.1, 0.1),
    ]
    assert "boosted_score" not in recommend(replica).json()["items"][0]


def test_items_differ_where_a_request_weighs_their_likeness(replica: ReplicaUnderTest) -> None:
    mmr = {"lambda": 0.5, "fields": ["brand"]}
    assert ids(recommend(replica, k=3, diversify={"mmr": mmr})) == [7, 3, 4]
    assert ids(recommend(replica, k=3, sources=["popular"])) == [7, 3, 4]
    similar = {"items": [4], "diversify": {"mmr": mmr}, "k": 2}
    assert ids(post(replica, "/v1/similar", json=similar)) == [3, 6]


def test_pages_are_read_in_the_order_of_the_ranking(replica: ReplicaUnderTest) -> None:
    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        answers = [await client.post("/v1/recommend", json=body(k=2, pages=3))]
        replica.store.kept[b"row:u1"] = b"8"  # which would be the first by now
        while (following := answers[-1].json()["next"]) is not None:
            answers.append(await client.post("/v1/recommend/next", json={"next": following}))
        return answers

    answers = talk(replica, story)
    assert [ids(one) for one in answers] == [[7, 3], [4, 5], [6, 8]]
    last = answers[-1].json()
    assert [one["score"] for one in last["items"]] == [0.1, 0.9]
    assert last["items"][1]["fields"] == {"brand": "b", "price": 8.0, "stock": 1}
    assert (last["candidates"], last["found"], last["notes"]) == (2, {}, [])
    shown = {one.request_id: one for one in logged(replica)}
    for answer in answers:
        one = shown.pop(answer.json()["request_id"])
        assert np.frombuffer(one.join_keys, np.int64).tolist() == ids(answer)
        assert one.entity == "u1"
    assert not shown


def test_a_page_has_fresh_fields_and_lacks_what_has_left(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    async def story(client: httpx.AsyncClient) -> httpx.Response:
        first = await client.post("/v1/recommend", json=body(k=2, pages=2))
        retriever.catalogue = {"5": item("c", 9.0)}
        request = {"next": first.json()["next"], "show": 0}
        return await client.post("/v1/recommend/next", json=request)

    answer = talk(replica, story)
    assert ids(answer) == [5]
    assert answer.json()["items"][0]["fields"]["brand"] == "c"
    assert [one["code"] for one in answer.json()["notes"]] == ["few_candidates"]
    assert answer.json()["next"] is None
    assert len(logged(replica)) == 1


def test_a_page_of_which_nothing_is_left_still_leads_to_the_next(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    retriever.catalogue = {"8": item()}
    gone = post(replica, "/v1/recommend/next", json={"next": text_of("u1", [["3"], ["8"]])})
    assert ids(gone) == []
    following = gone.json()["next"]
    assert ids(post(replica, "/v1/recommend/next", json={"next": following})) == [8]


def token(*value: object) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(value)).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "%%%",
        "AAAA",
        token("u1", []),
        token("u1", [[]]),
        token("u1", [["3"]] * 10),
        token("u1", [["3"] * 101]),
        token("u1", [[3]]),
        token("u1", [["3"]], -1),
        token("u1", [["3"]], 1_000_000),
        token("u1", [["3"]], 1, 1),
        token("u1" * 1_000, [["3"]]),
    ],
)
def test_a_wrong_text_is_refused(replica: ReplicaUnderTest, text: str) -> None:
    answer = post(replica, "/v1/recommend/next", json={"next": text})
    assert answer.status_code == 404
    assert answer.json()["error"]["field"] == "next"
    assert "ask for the first page again" in answer.json()["error"]["reason"]


def test_a_request_for_a_page_takes_little_else(replica: ReplicaUnderTest) -> None:
    answer = post(replica, "/v1/recommend/next", json={"next": "", "k": 5})
    assert "It takes: `next`, `show`, `explain`, " in answer.json()["error"]["reason"]
    assert answer.status_code == 422


def test_the_reasons_of_items_are_those_of_an_explanation(replica: ReplicaUnderTest) -> None:
    answer = recommend(replica, k=2, explain=1).json()
    request = {"user": "u1", "candidates": candidates(7, 3)}
    explained = post(replica, "/v1/explain", json=request).json()["candidates"]
    for found, expected in zip(answer["items"], explained, strict=True):
        assert found["reasons"] == expected["contributions"][:1]
    assert answer["items"][0]["reasons"][0]["contribution"] == pytest.approx(0.8)
    assert len(recommend(replica, k=1, explain=20).json()["items"][0]["reasons"]) == 2
    following = recommend(replica, k=1, pages=2).json()["next"]
    page = post(replica, "/v1/recommend/next", json={"next": following, "explain": 2}).json()
    assert [one["input"] for one in page["items"][0]["reasons"]] == ["wanted", "item_id"]
    assert "reasons" not in recommend(replica).json()["items"][0]


def test_as_many_items_are_explained_as_in_a_request_for_explanations(
    retriever: FakeRetriever,
) -> None:
    replica = ReplicaUnderTest(RequestLimits(explained=2), retriever=retriever)
    items = recommend(replica, explain=1).json()["items"]
    assert ["reasons" in one for one in items] == [True, True, False, False, False, False]


def test_pages_are_counted_as_recommendations(replica: ReplicaUnderTest) -> None:
    post(replica, "/v1/recommend/next", json={"next": text_of("u1", [["3"]])})
    assert "freshrank_recommend_seconds_count 1.0" in get(replica, "/metrics").text
