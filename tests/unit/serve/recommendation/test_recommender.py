"""POST /v1/recommend: candidates of the catalogue, ranked by the model, and logged as shown."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from fake_retriever import FakeRetriever, Row, item
from http_calls import candidates, get, post, talk
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import FakeModel, FakeScorer, ReplicaUnderTest, TwoTables

from freshrank.actors.clock import SystemClock
from freshrank.actors.errors import Unavailable
from freshrank.actors.features.retrieval import Filter
from freshrank.actors.messages import Floats, Inputs
from freshrank.actors.protocols import StoreRead
from freshrank.serve.explanation.explainer import Explainer
from freshrank.serve.recommendation.recommender import Recommender
from freshrank.serve.recommendation.selection import SelectionTypes
from freshrank.serve.scoring.served_model import ServedModel


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


def recommend(replica: ReplicaUnderTest, **changes: Any) -> httpx.Response:
    return post(replica, "/v1/recommend", json={"user": "u1", "exclude_seen": False} | changes)


def ids(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    return [one["id"] for one in answer.json()["items"]]


def notes(answer: httpx.Response) -> dict[str, str]:
    return {one["code"]: one["reason"] for one in answer.json()["notes"]}


def test_the_items_that_the_model_ranks_first_are_answered_with_all_that_is_known_of_them(
    replica: ReplicaUnderTest,
) -> None:
    answer = recommend(replica, k=2).json()
    assert answer.pop("request_id")
    assert answer.pop("features")["source"] == "online"
    sources = [{"name": "popular", "because": []}, {"name": "co_visited", "because": []}]
    assert answer == {
        "model": {"version": "1.5", "age_ms": 40},
        "items": [
            {
                "id": 7,
                "score": 0.9,
                "fields": {"brand": "b", "price": 7.0, "stock": 1},
                "sources": sources,
            },
            {
                "id": 3,
                "score": 0.1,
                "fields": {"brand": "a", "price": 3.0, "stock": 1},
                "sources": sources,
            },
        ],
        "candidates": 6,
        "found": {"popular": 6, "co_visited": 6},
        "notes": [],
        "next": None,
    }


def test_scores_and_features_are_those_of_a_request_to_score(replica: ReplicaUnderTest) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[dict[str, Any], dict[str, Any]]:
        found = await client.post("/v1/recommend", json={"user": "u1", "exclude_seen": False})
        body = {"user": "u1", "candidates": candidates(*range(3, 9))}
        return found.json(), (await client.post("/v1/score", json=body)).json()

    found, scored = talk(replica, story)
    by_id = dict(zip(range(3, 9), scored["scores"], strict=True))
    assert {one["id"]: one["score"] for one in found["items"]} == by_id
    assert found["model"] == scored["model"]
    for name in ("source", "event_time_ms", "offset"):
        assert found["features"][name] == scored["features"][name]
    assert found["request_id"] != scored["request_id"]


def test_what_the_request_says_is_what_is_retrieved(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    answer = recommend(
        replica,
        filters={"price": {"ge": 4}},
        exclude=[5],
        exclude_seen=["recent"],
        sources=["popular"],
        candidates=50,
    )
    (query,) = retriever.queries
    assert query.most == 50
    assert query.rows == [b"7"]
    assert query.filters == (Filter("price", "ge", 4.0),)
    assert query.exclude == {"5"}
    assert query.exclude_seen == ("recent",)
    assert query.sources == ("popular",)
    assert query.items == ()
    assert abs(query.at_ms - SystemClock().now_ms()) < 60_000
    assert ids(answer) == [4, 6, 8]
    assert answer.json()["found"] == {"popular": 3}


def test_what_the_entity_has_seen_is_left_out_unless_the_request_wants_it(
    replica: ReplicaUnderTest,
) -> None:
    assert set(ids(post(replica, "/v1/recommend", json={"user": "u1"}))) == {3, 4, 6, 8}
    assert set(ids(recommend(replica, exclude_seen=True))) == {3, 4, 6, 8}
    assert set(ids(recommend(replica, exclude_seen=["bought"]))) == {3, 4, 6, 7, 8}
    assert set(ids(recommend(replica, exclude_seen=False))) == set(range(3, 9))


def test_the_best_of_each_value_are_chosen_where_a_request_wants_different_ones(
    replica: ReplicaUnderTest,
) -> None:
    answer = recommend(replica, k=3, diversify={"most_per": {"brand": 1}})
    assert ids(answer) == [7, 3]
    assert notes(answer) == {"few_diverse": "`most_per` allows 2 of 6 candidates, 3 are wanted"}


def test_exactly_the_items_that_are_answered_are_logged_as_they_were_scored(
    replica: ReplicaUnderTest,
) -> None:
    answer = recommend(replica, k=3).json()
    (logged,) = replica.impressions()
    assert logged.request_id == answer["request_id"]
    assert (logged.entity, logged.version, logged.layout) == ("u1", "1.5", "abc")
    assert np.frombuffer(logged.join_keys, np.int64).tolist() == [7, 3, 4]
    assert np.frombuffer(logged.dense, np.float32).tolist() == [1.0, 0.0, 0.0]
    assert np.frombuffer(logged.ids, np.int64).tolist() == [7, 3, 4]
    assert not logged.outage


def test_a_request_says_how_many_of_the_items_are_shown(replica: ReplicaUnderTest) -> None:
    assert len(ids(recommend(replica, k=3, show=0))) == 3
    assert replica.impressions() == []
    recommend(replica, k=3, show=1)
    (logged,) = replica.impressions()
    assert np.frombuffer(logged.join_keys, np.int64).tolist() == [7]


def test_of_a_new_entity_the_answer_says_that_nothing_depends_on_it(
    replica: ReplicaUnderTest,
) -> None:
    answer = recommend(replica, user="u9", k=2)
    assert ids(answer) == [3, 4]
    assert answer.json()["features"]["source"] == "new"
    assert list(notes(answer)) == ["new_entity"]


def test_during_an_outage_of_the_store_items_are_answered_and_not_learned_from(
    replica: ReplicaUnderTest,
) -> None:
    replica.store.away = True
    answer = recommend(replica, k=2)
    assert ids(answer) == [3, 4]
    assert list(notes(answer)) == ["outage"]
    (logged,) = replica.impressions()
    assert logged.outage


def test_while_shards_write_their_rows_the_answer_says_so(replica: ReplicaUnderTest) -> None:
    filled, replica.store.filled = replica.store.filled, 0
    assert "still writing rows" in notes(recommend(replica, user="u9", k=2))["outage"]
    replica.store.filled = filled
    assert list(notes(recommend(replica, user="u9", k=2))) == ["new_entity"]


def test_an_empty_catalogue_is_an_empty_answer(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    retriever.catalogue = {}
    answer = recommend(replica)
    assert ids(answer) == []
    assert answer.json()["candidates"] == 0
    assert answer.json()["features"]["source"] == "online"
    assert answer.json()["model"]["version"] == "1.5"
    assert notes(answer) == {"empty_catalogue": "the catalogue has no items"}
    assert replica.impressions() == []


def test_where_nothing_passes_the_answer_is_empty_and_says_so(replica: ReplicaUnderTest) -> None:
    answer = recommend(replica, user="u9", filters={"brand": "c"})
    assert ids(answer) == []
    assert list(notes(answer)) == ["new_entity", "few_candidates"]
    assert notes(answer)["few_candidates"].endswith(
        "filters and exclusions leave 0 of the 6 in the catalogue"
    )
    replica.store.away = True
    assert list(notes(recommend(replica, user="u8", filters={"brand": "c"}))) == [
        "outage", "few_candidates",
    ]  # fmt: skip


def test_fewer_candidates_than_wanted_are_told(replica: ReplicaUnderTest) -> None:
    answer = recommend(replica, k=7)
    assert len(ids(answer)) == 6
    assert notes(answer) == {"few_candidates": "6 candidates for 7 items: the catalogue has 6"}
    assert list(notes(recommend(replica, k=6))) == []
    assert list(notes(recommend(replica, k=6, candidates=5))) == ["few_candidates"]


def test_a_catalogue_that_is_not_read_yet_is_told(
    replica: ReplicaUnderTest, retriever: FakeRetriever
) -> None:
    retriever.missing = "3 records behind"
    answer = recommend(replica, k=2)
    assert len(ids(answer)) == 2
    assert notes(answer) == {"catalogue_not_ready": "3 records behind"}


def test_keys_that_are_texts_are_answered_as_texts() -> None:
    texts = FakeRetriever({"3": item(), "4": item()}, integer_keys=False)
    answer = recommend(ReplicaUnderTest(retriever=texts), exclude=["3"])
    assert ids(answer) == ["4"]
    wrong = recommend(ReplicaUnderTest(retriever=texts), exclude=[3])
    assert wrong.json()["error"]["field"] == "exclude[0]"


def test_rows_of_candidates_are_read_with_the_entitys_and_all_are_of_one_moment() -> None:
    retriever = FakeRetriever({"3": item(), "5": item()})
    replica = ReplicaUnderTest(features=TwoTables(), retriever=retriever)
    replica.store.kept = {b"user:u1": b"70", b"item:3": b"30", b"item:5": b"70"}
    assert ids(recommend(replica)) == [5, 3]
    assert replica.store.reads[-2:] == [[b"user:u1"], [b"user:u1", b"item:3", b"item:5"]]
    counted = get(replica, "/metrics").text
    assert 'freshrank_candidate_rows_total{outcome="found",table="catalogue"} 2.0' in counted


def test_rows_of_candidates_that_an_outage_hides_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    retriever = FakeRetriever({"3": item()})
    replica = ReplicaUnderTest(features=TwoTables(), retriever=retriever)
    replica.store.kept = {b"user:u1": b"70", b"item:3": b"30"}
    retrieve = retriever.retrieve

    def retrieve_as_the_store_goes(query: Any) -> Any:
        replica.store.away = True
        return retrieve(query)

    monkeypatch.setattr(retriever, "retrieve", retrieve_as_the_store_goes)
    answer = recommend(replica)
    assert answer.json()["features"]["source"] == "stale"
    assert "outage" in notes(answer)
    (logged,) = replica.impressions()
    assert logged.outage


def test_a_row_that_is_read_too_late_for_the_candidates_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = ReplicaUnderTest(features=TwoTables(), retriever=FakeRetriever({"3": item()}))
    replica.store.kept = {b"user:u1": b"70", b"item:3": b"30"}
    read, failures = replica.store.read, iter([Unavailable("redis", "slow")])

    async def slow_at_first(keys: Sequence[bytes]) -> StoreRead:
        for failure in failures:
            raise failure
        return await read(keys)

    monkeypatch.setattr(replica.store, "read", slow_at_first)
    answer = recommend(replica)
    assert answer.json()["features"]["source"] == "online", "it was scored with its row"
    assert "outage" in notes(answer)
    assert "outage" not in notes(recommend(replica))


def test_where_candidates_have_no_rows_the_entitys_are_read_once(replica: ReplicaUnderTest) -> None:
    assert ids(recommend(replica, k=1)) == [7]
    assert [keys for keys in replica.store.reads if keys == [b"row:u1"]] == [[b"row:u1"]]


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"user": 5}, 422, "user"),
        ({"filters": {"price": {"ge": "x"}}}, 422, "filters.price.ge"),
        ({"min_version": "1.6"}, 409, "min_version"),
        ({"max_model_age_ms": 39}, 409, "max_model_age_ms"),
    ],
)
def test_wrong_input_is_a_4xx_that_names_the_field(
    replica: ReplicaUnderTest, changes: dict[str, Any], status: int, field: str
) -> None:
    answer = recommend(replica, **changes)
    assert answer.status_code == status
    assert answer.json()["error"]["field"] == field
    assert replica.impressions() == []


def test_recommendations_are_counted_apart_from_scores(replica: ReplicaUnderTest) -> None:
    async def story(client: httpx.AsyncClient) -> tuple[dict[str, Any], str]:
        for _ in range(2):
            await client.post("/v1/recommend", json={"user": "u1"})
        own = (await client.get("/v1/status")).json()["replica"]
        return own, (await client.get("/metrics")).text

    own, text = talk(replica, story)
    assert own["requests"] == 0
    assert own["recommendations"]["requests"] == 2
    assert own["recommendations"]["latency"]["count"] == 2
    assert own["catalogue"] == {"items": 6, "topic_error": None}
    assert "freshrank_recommend_seconds_count 2.0" in text
    assert "freshrank_score_seconds_count 0.0" in text
    assert "freshrank_candidates_total 8.0" in text
    assert 'freshrank_part_catalogue_items{part="replica"} 6.0' in text
    assert 'freshrank_part_recommendations_requests{part="replica"} 2.0' in text


def test_what_matters_is_explained_of_recommended_items_too(replica: ReplicaUnderTest) -> None:
    recommend(replica)
    importance = get(replica, "/v1/status").json()["replica"]["importance"]
    assert [one["input"] for one in importance] == ["wanted", "item_id"]


def test_requests_beyond_the_ongoing_ones_are_refused(retriever: FakeRetriever) -> None:
    busy = ReplicaUnderTest(retriever=retriever, max_ongoing_requests=0)
    assert recommend(busy).status_code == 503


@pytest.mark.parametrize("path", ["/v1/recommend", "/v1/similar"])
def test_without_a_catalogue_there_is_no_such_path(path: str) -> None:
    replica = ReplicaUnderTest()
    answer = post(replica, path, json={"user": "u1"})
    assert answer.status_code == 404
    needs = f"there is no '{path}': the pipeline has no sources of candidates"
    assert answer.json()["error"]["reason"].startswith(needs)
    assert path not in get(replica, "/openapi.json").json()["paths"]
    assert get(replica, "/v1/pipeline").json()["catalogue"] is None
    assert "catalogue" not in get(replica, "/v1/status").json()["replica"]


def test_the_catalogue_is_described(replica: ReplicaUnderTest) -> None:
    assert get(replica, "/v1/pipeline").json()["catalogue"] == {
        "entity": "item",
        "fields": {"brand": "str", "price": "float", "stock": "int"},
        "sources": ["popular", "co_visited"],
        "similar": ["co_visited"],
        "seen": ["recent", "bought"],
        "context": {"type": "object", "properties": {}, "required": []},
    }


class ByItem(FakeScorer):
    """Scores that order items as no source does, with ties."""

    def score(self, inputs: Inputs) -> Floats:
        return ((inputs.ids[:, 0] * 7 % 5) / 5).astype(np.float32)


ROWS = st.builds(
    item,
    st.sampled_from(["a", "b", None]),
    st.sampled_from([1.0, 2.0, None]),
    st.sampled_from([0, 1, None]),
)
FEW = st.lists(st.integers(0, 15), max_size=4)
BODIES = st.fixed_dictionaries(
    {"user": st.sampled_from(["u1", "u2"])},
    optional={
        "k": st.integers(1, 12),
        "exclude": FEW,
        "exclude_seen": st.booleans() | st.lists(st.sampled_from(["recent", "bought"])),
        "filters": st.fixed_dictionaries(
            {}, optional={"brand": st.just(["a"]), "price": st.just({"ge": 1.5})}
        ),
        "candidates": st.integers(1, 14),
        "diversify": st.fixed_dictionaries(
            {"most_per": st.dictionaries(st.sampled_from(["brand", "price"]), st.integers(1, 3))}
        ),
    },
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 15).map(str), ROWS), BODIES)
def test_an_answer_keeps_to_what_the_request_says(
    catalogue: dict[str, Row], body: dict[str, Any]
) -> None:
    retriever, clock = FakeRetriever(catalogue), SystemClock()
    replica = ReplicaUnderTest(retriever=retriever)
    replica.service.model = ServedModel(ByItem(), FakeModel(), clock, 0)
    replica.store.kept[b"row:u1"] = b"7"
    types = SelectionTypes(replica.service.pipeline, retriever)
    recommender = Recommender(replica.service, retriever, types, Explainer(replica.service))
    answer = asyncio.run(recommender.recommend(msgspec.json.encode(body)))

    given_ids = [int(one.id) for one in answer.items]
    assert len(set(given_ids)) == len(given_ids) <= min(body.get("k", 20), answer.candidates)
    assert not set(given_ids) & set(body.get("exclude", []))
    seen = body.get("exclude_seen", True)
    if (seen is True or (seen and "recent" in seen)) and body["user"] == "u1":
        assert 7 not in given_ids
    scores = [one.score for one in answer.items]
    assert scores == sorted(scores, reverse=True)
    for field, most in body.get("diversify", {}).get("most_per", {}).items():
        counts = Counter(one.fields[field] for one in answer.items)
        counts.pop(None, None)
        assert all(count <= most for count in counts.values())
    for one in answer.items:
        assert one.fields == catalogue[str(one.id)]
        assert one.score == pytest.approx((int(one.id) * 7 % 5) / 5, abs=1e-6)
    if not body.get("diversify", {}).get("most_per"):
        assert len(given_ids) == min(body.get("k", 20), answer.candidates)
    short = {"few_candidates", "few_diverse", "empty_catalogue"} & {
        one.code for one in answer.notes
    }
    assert bool(short) == (len(given_ids) < body.get("k", 20))
