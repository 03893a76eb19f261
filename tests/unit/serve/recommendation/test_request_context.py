"""What a request for recommendations says of itself: fields of a candidate that no item has."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from fake_retriever import FakeRetriever, item
from http_calls import get, post
from serving import FakeFeatures, FakeModel, FakeScorer, ReplicaUnderTest

from freshrank.actors.clock import SystemClock
from freshrank.actors.features.service import Candidates, RowLookup
from freshrank.actors.messages import Floats, Inputs
from freshrank.serve.recommendation.following_pages import text_of
from freshrank.serve.scoring.served_model import ServedModel


class PricesWanted(FakeFeatures):
    """The input is the price that candidates carry; it keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Candidates] = []

    def inputs(
        self,
        lookups: Sequence[RowLookup],
        rows: Sequence[bytes | None],
        key: str,
        candidates: Candidates,
        at_ms: int,
    ) -> Inputs:
        self.given.append(candidates)
        prices = np.array(candidates["price"], dtype=np.float32)
        return Inputs(prices[:, None], np.array(candidates["item_id"], np.int64)[:, None])


class ByPrice(FakeScorer):
    def score(self, inputs: Inputs) -> Floats:
        return inputs.dense[:, 0] * np.float32(0.1)


class OfRequests(FakeRetriever):
    """A catalogue without notes and prices."""

    request_context = ("note", "price")


@pytest.fixture
def features() -> PricesWanted:
    return PricesWanted()


@pytest.fixture
def replica(features: PricesWanted) -> ReplicaUnderTest:
    items = {str(key): item() for key in range(3, 9)}
    made = ReplicaUnderTest(features=features, retriever=OfRequests(items))
    made.service.model = ServedModel(ByPrice(), FakeModel(), SystemClock(), 0)
    return made


def recommend(replica: ReplicaUnderTest, **given: Any) -> httpx.Response:
    return post(replica, "/v1/recommend", json={"user": "u1", "exclude_seen": False} | given)


GIVEN = {"note": "phone", "price": 4.0}


def test_each_candidate_carries_what_the_request_says(
    replica: ReplicaUnderTest, features: PricesWanted
) -> None:
    answer = recommend(replica, k=2, context=GIVEN)
    assert answer.status_code == 200, answer.text
    assert [one["score"] for one in answer.json()["items"]] == [0.4, 0.4]
    assert features.given[-1]["note"] == ["phone"] * 6
    assert features.given[-1]["price"] == [4.0] * 6
    (impression,) = replica.impressions()
    assert np.frombuffer(impression.dense, "<f4").tolist() == [4.0, 4.0], "and is learned from it"


def test_the_pages_that_follow_have_the_same_context(
    replica: ReplicaUnderTest, features: PricesWanted
) -> None:
    answer = recommend(replica, k=2, pages=3, context=GIVEN).json()
    for _ in range(2):
        page = post(replica, "/v1/recommend/next", json={"next": answer["next"]})
        assert page.status_code == 200, page.text
        answer = page.json()
        assert features.given[-1]["price"] == [4.0, 4.0]
    assert "next" not in answer or answer["next"] is None


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({}, "context.note", "missing required field `note`"),
        ({"note": "phone"}, "body", "unknown field `note`; it is one of `context`"),
        (
            {"context": GIVEN, "price": 4.0},
            "body",
            'unknown field `price`; it is one of `context`: {\\"context\\": {\\"price\\": ...}}',
        ),
        ({"context": {"note": "phone"}}, "context.price", "missing required field"),
        ({"context": {**GIVEN, "price": "low"}}, "context.price", "Expected `float`"),
        ({"context": {**GIVEN, "prise": 1}}, "context", "It takes: `note`, `price`"),
    ],
)
def test_an_error_names_the_field(
    replica: ReplicaUnderTest, given: dict[str, Any], field: str, says: str
) -> None:
    answer = recommend(replica, **given)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
    assert says in answer.text


@pytest.mark.parametrize("context", [{}, {"note": "phone"}, {"note": 3, "price": 4.0}])
def test_a_page_of_another_context_is_no_page_of_this_catalogue(
    replica: ReplicaUnderTest, context: dict[str, Any]
) -> None:
    text = text_of("u1", [["3"]], 2, context)
    answer = post(replica, "/v1/recommend/next", json={"next": text})
    assert answer.status_code == 404
    assert "ask for the first page again" in answer.text


def test_a_catalogue_that_has_all_fields_takes_no_context() -> None:
    replica = ReplicaUnderTest(retriever=FakeRetriever({"3": item()}))
    answer = recommend(replica, context=GIVEN)
    assert answer.status_code == 422
    assert "unknown field `context`" in answer.text
    of_before = urlsafe_b64encode(msgspec.msgpack.encode(("u1", [["3"]], 2))).decode()
    page = post(replica, "/v1/recommend/next", json={"next": of_before})
    assert page.status_code == 200, "an answer of the version before has led to it"


@pytest.mark.parametrize(
    "given", [{"context": {"note": "phone"}}, {"note": "phone"}, {"price": 1.0}]
)
def test_a_request_to_score_is_told_that_candidates_have_it(
    replica: ReplicaUnderTest, given: dict[str, Any]
) -> None:
    candidates = [{"item_id": 3, "note": "n", "price": 1.5}]
    for path in ("/v1/score", "/v1/explain"):
        answer = post(replica, path, json={"user": "u1", "candidates": candidates, **given})
        assert answer.status_code == 422
        assert "each of `candidates` has its own context: `item_id`, `note`" in answer.text


def test_the_pipeline_names_it(replica: ReplicaUnderTest) -> None:
    assert get(replica, "/v1/pipeline").json()["catalogue"]["context"] == {
        "type": "object",
        "properties": {
            "note": {"type": "string", "minLength": 1, "maxLength": 256},
            "price": {"type": "number"},
        },
        "required": ["note", "price"],
    }
    schema = get(replica, "/openapi.json").json()["components"]["schemas"]
    assert list(schema["RequestContext"]["properties"]) == ["note", "price"]
    assert "context" in schema["RecommendRequest"]["required"]
