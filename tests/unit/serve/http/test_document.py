"""The OpenAPI document is right: every answer to any request is one that it describes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from fake_retriever import FakeRetriever, item
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import JsonCodec, ReplicaUnderTest

from freshrank.actors.protocols import JsonValue
from freshrank.serve.api import explain_answers, recommendation_answers
from freshrank.serve.api import responses as answers
from freshrank.serve.http.openapi import Document, document
from freshrank.serve.http.route_table import RouteTable
from freshrank.serve.scoring.served_pipeline import EventStream

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=256)
CANDIDATE = st.builds(
    lambda item, note, price: {"item_id": item, "note": note, "price": price},
    st.integers(-(2**63), 2**63 - 1),
    TEXT,
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def valid_requests(draw: st.DrawFn) -> dict[str, Any]:
    optional = {
        "show": st.none() | st.integers(0, 1_000),
        "min_version": st.none() | st.from_regex(r"\A[0-9]{1,3}\.[0-9]{1,3}\Z"),
        "pinned": st.none() | st.from_regex(r"\A[0-9]{1,3}\.[0-9]{1,3}\Z"),
        "max_model_age_ms": st.none() | st.integers(0, 100),
        "min_offsets": st.none() | st.dictionaries(st.just("events"), st.integers(0, 9)),
        "timeout_ms": st.none() | st.integers(0, 1),
    }
    chosen = draw(st.sets(st.sampled_from(sorted(optional))))
    body = {"user": draw(TEXT), "candidates": draw(st.lists(CANDIDATE, min_size=1, max_size=4))}
    found = {name: draw(optional[name]) for name in sorted(chosen)}
    if found.get("pinned") is not None:  # one version, or bounds
        found = {name: found[name] for name in found if name in ("show", "pinned")}
    return body | found


TAKING_A_BODY = [
    "/v1/score", "/v1/score/batch", "/v1/explain", "/v1/events", "/v1/recommend/next"
]  # fmt: skip
ABOUT_ITEMS = ["/v1/recommend", "/v1/similar"]
NUMBER = st.integers(-3, 9) | st.floats(-3, 9)
CONDITIONS = {
    "brand": st.text(max_size=2) | st.lists(st.text(max_size=2), max_size=2),
    "price": NUMBER
    | st.dictionaries(st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), NUMBER),
    "stock": st.fixed_dictionaries({"is_null": st.booleans(), "in": st.lists(st.integers(0, 9))}),
}
KEYS = st.integers(0, 9) | st.integers(0, 9).map(str)


@st.composite
def valid_requests_for_items(draw: st.DrawFn, path: str) -> dict[str, Any]:
    optional = {
        "k": st.integers(1, 100),
        "filters": st.fixed_dictionaries({}, optional=CONDITIONS),
        "exclude": st.lists(KEYS, max_size=3),
        "diversify": st.fixed_dictionaries(
            {},
            optional={
                "most_per": st.dictionaries(
                    st.sampled_from(["brand", "price"]), st.none() | st.integers(1, 100)
                ),
                "mmr": st.none()
                | st.fixed_dictionaries(
                    {"fields": st.lists(st.sampled_from(["brand", "price"]), min_size=1)},
                    optional={"lambda": st.floats(0, 1)},
                ),
            },
        ),
    }
    if path == "/v1/similar":
        return draw(
            st.fixed_dictionaries(
                {"items": st.lists(KEYS, min_size=1, max_size=20)}, optional=optional
            )
        )
    seen = st.sampled_from(["recent", "bought"])
    optional |= {
        "exclude_seen": st.booleans() | st.lists(seen, max_size=3),
        "sources": st.none() | st.lists(st.sampled_from(["popular", "co_visited"]), min_size=1),
        "candidates": st.integers(1, 1_000),
        "show": st.none() | st.integers(0, 100),
        "pages": st.integers(1, 10),
        "explain": st.integers(0, 20),
        "boosts": st.lists(
            st.fixed_dictionaries(
                {
                    "filters": st.fixed_dictionaries({}, optional=CONDITIONS),
                    "factor": st.floats(0.001, 1_000),
                }
            ),
            max_size=3,
        ),
    }
    return draw(st.fixed_dictionaries({"user": TEXT}, optional=optional))


TYPES: dict[str, Any] = {
    "score": answers.ScoreAnswer,
    "score_batch": answers.BatchAnswer,
    "explain": explain_answers.ExplainAnswer,
    "recommend": recommendation_answers.RecommendAnswer,
    "recommend_next": recommendation_answers.RecommendAnswer,
    "similar": recommendation_answers.SimilarAnswer,
    "events": answers.EventsAnswer,
    "features": answers.FeaturesAnswer,
    "entity_events": answers.EntityEventsAnswer,
    "model": answers.ModelAnswer,
    "pipeline": answers.PipelineAnswer,
    "status": dict[str, dict[str, Any]],
    "health": answers.HealthAnswer,
    "ready": answers.ReadyAnswer,
}


def replica_with_items() -> ReplicaUnderTest:
    return ReplicaUnderTest(retriever=FakeRetriever({"3": item("a"), "4": item("b", None)}))


def document_of(replica: ReplicaUnderTest) -> Document:
    return document("shop", RouteTable(replica.service).specs())


def ask(method: str, path: str, content: bytes | None = None) -> httpx.Response:
    async def call() -> httpx.Response:
        async with replica_with_items().client() as client:
            return await client.request(method, path, content=content)

    return asyncio.run(call())


def described(method: str, path: str, answer: httpx.Response) -> Any:
    """Check `answer` against the document; returns it as the type that it was encoded from."""
    operation = document_of(replica_with_items())["paths"][path][method.lower()]
    status = str(answer.status_code)
    assert status in operation["responses"]
    kind = TYPES[operation["operationId"]] if status == "200" else answers.ErrorAnswer
    return msgspec.json.decode(answer.content, type=kind)


@settings(deadline=None, max_examples=25)
@given(valid_requests())
def test_a_request_that_the_document_allows_is_scored_or_times_out(body: dict[str, Any]) -> None:
    answer = ask("POST", "/v1/score", json.dumps(body).encode())
    assert answer.status_code in (200, 409)
    found = described("POST", "/v1/score", answer)
    if answer.status_code == 200:
        count = len(body["candidates"])
        assert len(found.scores) == count
        assert sorted(found.ranking) == list(range(count))
        best_first = [found.scores[index] for index in found.ranking]
        assert best_first == sorted(best_first, reverse=True)


@settings(deadline=None, max_examples=20)
@given(valid_requests())
def test_a_request_to_score_is_explained_as_it_stands(body: dict[str, Any]) -> None:
    answer = ask("POST", "/v1/explain", json.dumps(body).encode())
    assert answer.status_code in (200, 409)
    found = described("POST", "/v1/explain", answer)
    if answer.status_code == 200:
        assert len(found.candidates) == len(body["candidates"])
        for one in found.candidates:
            added = one.base + sum(each.contribution for each in one.contributions)
            assert abs(one.logit - added - one.residual) < 1e-6


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(ABOUT_ITEMS), st.data())
def test_a_request_for_items_that_the_document_allows_is_answered_with_some(
    path: str, data: st.DataObject
) -> None:
    body = data.draw(valid_requests_for_items(path))
    answer = ask("POST", path, json.dumps(body).encode())
    nothing_known = path == "/v1/similar" and not {3, 4} & {int(key) for key in body["items"]}
    assert answer.status_code == (404 if nothing_known else 200), answer.text
    found = described("POST", path, answer)
    if not nothing_known:
        assert {one.id for one in found.items} <= {3, 4}
        assert len(found.items) <= found.candidates


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(ABOUT_ITEMS), st.data())
def test_a_valid_request_for_items_with_one_value_replaced_never_causes_a_500(
    path: str, data: st.DataObject
) -> None:
    body = data.draw(valid_requests_for_items(path))
    place = data.draw(st.sampled_from(sorted(body)))
    answer = ask("POST", path, json.dumps(body | {place: data.draw(JSON)}).encode())
    assert answer.status_code < 500
    described("POST", path, answer)


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(
        [
            "/v1/score",
            "/v1/score/batch",
            "/v1/explain",
            "/v1/events",
            "/v1/recommend/next",
            *ABOUT_ITEMS,
        ]
    ),
    JSON,
)
def test_every_answer_to_any_json_is_described(path: str, body: Any) -> None:
    answer = ask("POST", path, json.dumps(body).encode())
    assert answer.status_code < 500
    described("POST", path, answer)


@settings(deadline=None, max_examples=25)
@given(valid_requests(), st.data())
def test_a_valid_request_with_one_value_replaced_never_causes_a_500(
    body: dict[str, Any], data: st.DataObject
) -> None:
    place = data.draw(st.sampled_from(sorted(body)))
    answer = ask("POST", "/v1/score", json.dumps(body | {place: data.draw(JSON)}).encode())
    assert answer.status_code < 500
    described("POST", "/v1/score", answer)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(["/v1/score", "/v1/events", *ABOUT_ITEMS]), st.binary(max_size=60))
def test_every_answer_to_any_bytes_is_described(path: str, body: bytes) -> None:
    answer = ask("POST", path, body)
    assert answer.status_code < 500
    described("POST", path, answer)


@pytest.mark.parametrize("path", ["/v1/model", "/v1/pipeline", "/v1/status", "/healthz", "/readyz"])
def test_answers_have_the_type_that_is_described(path: str) -> None:
    answer = ask("GET", path)
    assert answer.status_code == 200
    described("GET", path, answer)


@pytest.mark.parametrize("key", ["u1", "a/b", "ü", "%", "a%2Fb", "  ", "x" * 256])
def test_features_are_answered_for_every_id_that_the_document_allows(key: str) -> None:
    quoted = httpx.URL("http://r").copy_with(path=f"/v1/features/user/{key}").raw_path.decode()
    answer = ask("GET", quoted)
    assert answer.status_code == 200
    described("GET", "/v1/features/{entity}/{id}", answer)


@pytest.mark.parametrize("key", ["u1", "a/b", "events", "ü", "x" * 256])
@pytest.mark.parametrize("query", ["", "?limit=1", "?limit=200"])
def test_events_are_answered_for_every_id_that_the_document_allows(key: str, query: str) -> None:
    path = f"/v1/entities/user/{key}/events"
    quoted = httpx.URL("http://r").copy_with(path=path).raw_path.decode()
    answer = ask("GET", quoted + query)
    assert answer.status_code == 200
    described("GET", "/v1/entities/{entity}/{id}/events", answer)


def test_requests_to_score_and_to_explain_differ_in_their_candidates_only() -> None:
    schemas = document_of(replica_with_items())["components"]["schemas"]
    score, explain = schemas["ScoreRequest"], schemas["ExplainRequest"]
    most = [one["properties"]["candidates"].pop("maxItems") for one in (score, explain)]
    assert most == [1_000, 20]
    assert score.pop("title") != explain.pop("title")
    assert score["properties"]["on_bad_candidate"]["enum"] == ["fail", "skip"]
    assert score == explain


def test_an_id_that_is_too_long_is_a_422_that_names_the_field() -> None:
    answer = ask("GET", "/v1/features/user/" + "x" * 257)
    assert answer.status_code == 422
    assert described("GET", "/v1/features/{entity}/{id}", answer).error.field == "id"


def test_schemas_that_an_event_refers_to_are_in_the_document() -> None:
    place: JsonValue = {"type": "object", "properties": {"city": {"type": "string"}}}
    schema: dict[str, JsonValue] = {
        "properties": {"where": {"$ref": "#/$defs/Place"}},
        "$defs": {"Place": place},
    }
    whole = document_of(ReplicaUnderTest(streams=[EventStream("behaviour", JsonCodec(), schema)]))
    body = whole["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/json"]
    reference = {"$ref": "#/components/schemas/behaviour.event"}
    one, several = body["schema"]["anyOf"]
    assert (one, several["items"]) == (reference, reference)
    components = whole["components"]["schemas"]
    assert components["behaviour.event"] == {
        "properties": {"where": {"$ref": "#/components/schemas/behaviour.Place"}}
    }
    assert components["behaviour.Place"] == place


def test_schemas_of_one_name_in_two_streams_and_in_an_answer_are_told_apart() -> None:
    def stream(topic: str, kind: str) -> EventStream:
        schema: dict[str, JsonValue] = {
            "properties": {"where": {"$ref": "#/$defs/Position"}},
            "$defs": {"Position": {"type": kind}},
        }
        return EventStream(topic, JsonCodec(), schema)

    whole = document_of(
        ReplicaUnderTest(streams=[stream("clicks", "string"), stream("plays", "integer")])
    )
    components = whole["components"]["schemas"]
    for topic, kind in (("clicks", "string"), ("plays", "integer")):
        reference = {"$ref": f"#/components/schemas/{topic}.Position"}
        assert components[f"{topic}.event"] == {"properties": {"where": reference}}
        assert components[f"{topic}.Position"] == {"type": kind}
    assert components["EventsAnswer"]["properties"]["positions"]["items"] == {
        "$ref": "#/components/schemas/Position"
    }
    assert sorted(components["Position"]["properties"]) == ["offset", "partition", "topic"]


def schemas_in(value: Any) -> Iterator[Document]:
    """All objects in a part of the document."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from schemas_in(one)


def test_what_generators_of_clients_would_guess_is_said() -> None:
    """An object of any fields says so, and of what type the choices are."""
    whole = document_of(replica_with_items())
    schemas = [*schemas_in(whole["components"]["schemas"]), *schemas_in(whole["paths"])]
    objects = [one for one in schemas if one.get("type") == "object"]
    assert [one for one in objects if not {"properties", "additionalProperties"} & set(one)] == []
    assert [one for one in schemas if "enum" in one and one.get("type") != "string"] == []
    fields = whole["components"]["schemas"]["RecommendedItem"]["properties"]["fields"]
    assert fields == {"type": "object", "additionalProperties": True}
    texts = whole["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert texts == {"text/plain": {"schema": {"type": "string"}}}


@pytest.mark.parametrize(("integer_keys", "kind"), [(True, "integer"), (False, "string")])
def test_keys_of_items_in_answers_are_of_the_type_that_they_have_in_the_catalogue(
    integer_keys: bool, kind: str
) -> None:
    retriever = FakeRetriever({"3": item()}, integer_keys=integer_keys)

    async def call() -> Any:
        async with ReplicaUnderTest(retriever=retriever).client() as client:
            found = (await client.get("/openapi.json")).json()["components"]["schemas"]
            answer = (await client.post("/v1/recommend", json={"user": "u1"})).json()
        return found, answer["items"][0]["id"]

    schemas, key = asyncio.run(call())
    assert type(key) is (int if integer_keys else str)
    assert schemas["RecommendedItem"]["properties"]["id"]["type"] == kind
    assert schemas["SimilarItem"]["properties"]["id"]["type"] == kind
    assert schemas["ItemSource"]["properties"]["because"]["items"]["type"] == kind
    assert schemas["SimilarAnswer"]["properties"]["unknown"]["items"]["type"] == kind


def test_what_an_answer_always_has_is_required() -> None:
    """A generated client lets a caller read it without a check whether it is there."""
    components = document_of(replica_with_items())["components"]["schemas"]
    for name, kind in answer_types().items():
        described = components[name]
        sometimes = {
            one.encode_name for one in msgspec.structs.fields(kind) if msgspec.UNSET is one.default
        }
        assert set(described["required"]) == described["properties"].keys() - sometimes, name


def answer_types() -> dict[str, type[msgspec.Struct]]:
    """All structs of answers, by name."""
    modules = (answers, explain_answers, recommendation_answers)
    found = [one for module in modules for one in vars(module).values() if isinstance(one, type)]
    return {one.__name__: one for one in found if issubclass(one, msgspec.Struct)}


def test_every_route_is_described_and_every_described_path_is_a_route() -> None:
    paths = document_of(replica_with_items())["paths"]
    for path, operations in paths.items():
        known = path.replace("{entity}", "user").replace("{id}", "u1")
        for method in operations:
            assert ask(method.upper(), known).status_code not in (404, 405), (method, path)
