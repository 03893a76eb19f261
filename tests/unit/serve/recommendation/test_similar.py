"""POST /v1/similar: what the sources find for given items, without the model."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fake_retriever import FakeRetriever, item
from http_calls import post
from serving import ReplicaUnderTest

from freshrank.actors.features.retrieval import Filter


@pytest.fixture
def retriever() -> FakeRetriever:
    return FakeRetriever(
        {str(key): item("a" if key < 6 else "b", float(key)) for key in range(3, 9)}
    )


@pytest.fixture
def replica(retriever: FakeRetriever) -> ReplicaUnderTest:
    return ReplicaUnderTest(retriever=retriever)


def similar(replica: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    return post(replica, "/v1/similar", json={"items": [3]} | changes)


def ids(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


def test_the_most_similar_items_are_answered_with_what_led_to_them(
    replica: ReplicaUnderTest,
) -> None:
    assert similar(replica, items=[5, "3"], k=2).json() == {
        "items": [
            {
                "id": 4,
                "similarity": 1.0,
                "fields": {"brand": "a", "price": 4.0, "stock": 1},
                "sources": [{"name": "co_visited", "because": [5, 3]}],
            },
            {
                "id": 6,
                "similarity": 0.5,
                "fields": {"brand": "b", "price": 6.0, "stock": 1},
                "sources": [{"name": "co_visited", "because": [5, 3]}],
            },
        ],
        "unknown": [],
        "candidates": 2,
        "found": {"co_visited": 2},
        "notes": [],
    }


def test_what_the_request_says_is_what_is_retrieved(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    answer = similar(replica, items=[3, 9], k=5, filters={"brand": "b"}, exclude=[8])
    (query,) = retriever.queries
    assert (query.most, query.rows, query.items) == (5, (), ["3"])
    assert query.filters == (Filter("brand", "eq", "b"),)
    assert query.exclude == {"8", "3"}
    assert (query.exclude_seen, query.sources) == ((), ("co_visited",))
    assert ids(answer) == [6, 7]
    assert [one["code"] for one in answer.json()["notes"]] == ["few_candidates"]


def test_items_that_the_catalogue_does_not_have_are_listed(replica: ReplicaUnderTest) -> None:
    answer = similar(replica, items=[99, 3, 98])
    assert 3 not in ids(answer)
    assert answer.json()["unknown"] == [99, 98]


def test_where_none_is_known_the_answer_is_a_404_that_names_them(replica: ReplicaUnderTest) -> None:
    answer = similar(replica, items=[99, 98])
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "field": "items",
        "reason": "the catalogue has none of 99, 98",
    }


def test_different_ones_are_chosen_from_more(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    answer = similar(replica, k=2, diversify={"most_per": {"brand": 1}})
    assert ids(answer) == [4, 6]
    assert retriever.queries[0].most == 20
    few = similar(replica, k=3, diversify={"most_per": {"brand": 1}})
    assert [one["code"] for one in few.json()["notes"]] == ["few_diverse"]


def test_without_a_source_for_it_a_404_says_what_to_add(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    retriever.similar = ()
    answer = similar(replica)
    assert answer.status_code == 404
    assert "CoVisited(...) or SimilarContent(...)" in answer.json()["error"]["reason"]


def test_nothing_is_logged(replica: ReplicaUnderTest) -> None:
    similar(replica)
    assert all(replica.log.end("shop.impressions", partition) == 0 for partition in range(4))


def test_requests_beyond_the_ongoing_ones_are_refused(retriever: FakeRetriever) -> None:
    busy = ReplicaUnderTest(retriever=retriever, max_ongoing_requests=0)
    assert similar(busy).status_code == 503
