"""What REST answers, gRPC answers: every call, right and wrong, against the same replica."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fake_clock import FakeClock
from fake_retriever import FakeRetriever, item
from grpc_calls import LocalCalls, local_calls
from http_calls import candidates
from serving import FakeFeatures, ReplicaUnderTest

from freshrank.actors.errors import BadRecord
from freshrank.actors.kernels.hashing import hash_text
from freshrank.actors.protocols import JsonValue

CATALOGUE = {"3": item(), "4": item("b", None), "5": item(None, 2.5, 7)}
WRONG = {"item_id": 3, "note": "", "price": 1.5}
LARGE = 2**53 + 1


@dataclass(frozen=True)
class Case:
    """One request, as either takes it."""

    call: str
    method: str
    path: str
    body: Any = None
    parameters: Mapping[str, str | int] = field(default_factory=dict)
    """Those of the path and of the query; of a body that a schema describes, too."""
    status: int = 200

    @property
    def message(self) -> Any:
        if isinstance(self.body, list):
            return {**self.parameters, self.call.lower(): self.body}
        return {**self.parameters, **(self.body or {})}


SCORE = {"user": "u1", "candidates": candidates(3, 4, LARGE)}
SKIP = {**SCORE, "candidates": [*candidates(4), WRONG], "on_bad_candidate": "skip"}
FEATURES = {"entity": "user", "id": "u1"}
EVENT = {"user_id": "u1", "ts": LARGE, "tags": [None, True, 1, 1.5, {"deep": []}], "": {}}

CASES = {
    "scores": Case("Score", "POST", "/v1/score", {**SCORE, "show": 1}),
    "scores of a stranger": Case("Score", "POST", "/v1/score", {**SCORE, "user": "new"}),
    "a candidate left out": Case("Score", "POST", "/v1/score", SKIP),
    "a wrong bound": Case("Score", "POST", "/v1/score", {**SCORE, "show": -1}, status=422),
    "an unknown choice": Case(
        "Score", "POST", "/v1/score", {**SCORE, "on_bad_candidate": "skp"}, status=422
    ),
    "weights that are not there": Case(
        "Score", "POST", "/v1/score", {**SCORE, "min_version": "9.0"}, status=409
    ),
    "rows that are not there": Case(
        "Score",
        "POST",
        "/v1/score",
        {**SCORE, "min_offsets": {"events": LARGE}, "timeout_ms": 0},
        status=409,
    ),
    "rows of another topic": Case(
        "Score", "POST", "/v1/score", {**SCORE, "min_offsets": {"none": 1}}, status=409
    ),
    "a batch": Case(
        "ScoreBatch", "POST", "/v1/score/batch", {"requests": [SCORE, {**SCORE, "show": -1}, SKIP]}
    ),
    "an empty batch": Case("ScoreBatch", "POST", "/v1/score/batch", {"requests": []}, status=422),
    "an explanation": Case("Explain", "POST", "/v1/explain", SCORE),
    "an explanation with one left out": Case("Explain", "POST", "/v1/explain", SKIP),
    "recommendations": Case(
        "Recommend",
        "POST",
        "/v1/recommend",
        {
            "user": "u1",
            "k": 2,
            "filters": {"price": {"ge": 1}, "brand": ["a", "b"], "stock": {"is_null": False}},
            "exclude": [LARGE, "7"],
            "exclude_seen": ["bought"],
            "diversify": {"most_per": {"brand": 1}, "mmr": {"fields": ["brand"], "lambda": 0.5}},
            "boosts": [{"filters": {"brand": "a"}, "factor": 2}],
            "explain": 1,
        },
    ),
    "all items": Case("Recommend", "POST", "/v1/recommend", {"user": "u1", "exclude_seen": False}),
    "an unknown source": Case(
        "Recommend", "POST", "/v1/recommend", {"user": "u1", "sources": ["x"]}, status=422
    ),
    "a page that is none": Case(
        "RecommendNext", "POST", "/v1/recommend/next", {"next": "x"}, status=404
    ),
    "similar items": Case("Similar", "POST", "/v1/similar", {"items": [3, "8"], "k": 3}),
    "items that nobody knows": Case("Similar", "POST", "/v1/similar", {"items": [99]}, status=404),
    "a wrong key of an item": Case("Similar", "POST", "/v1/similar", {"items": ["07"]}, status=422),
    "features": Case("Features", "GET", "/v1/features/user/u1", None, FEATURES),
    "features of another entity": Case(
        "Features", "GET", "/v1/features/shop/u1", None, {**FEATURES, "entity": "shop"}, status=404
    ),
    "events of an entity": Case(
        "EntityEvents", "GET", "/v1/entities/user/u1/events?limit=2", None, {**FEATURES, "limit": 2}
    ),
    "too many events": Case(
        "EntityEvents",
        "GET",
        "/v1/entities/user/u1/events?limit=999",
        None,
        {**FEATURES, "limit": 999},
        status=422,
    ),
    "an event": Case("Events", "POST", "/v1/events", [EVENT]),
    "an event of a named stream": Case(
        "Events", "POST", "/v1/events?stream=behaviour", [EVENT], {"stream": "behaviour"}
    ),
    "an event of no stream": Case(
        "Events", "POST", "/v1/events?stream=none", [EVENT], {"stream": "none"}, status=422
    ),
    "a wrong event": Case("Events", "POST", "/v1/events", [EVENT, {"user_id": 3}], status=422),
    "no event": Case("Events", "POST", "/v1/events", [], status=422),
    "an entity to forget": Case(
        "Forget", "DELETE", "/v1/entities/user/u1", None, FEATURES, status=202
    ),
    "weights": Case("Model", "GET", "/v1/model"),
    "the pipeline": Case("Pipeline", "GET", "/v1/pipeline"),
}


class Touched(FakeFeatures):
    """Each entity touched a brand of the catalogue, an item of it, and what nobody knows."""

    def canonical_key(self, entity: str, key: str | int) -> str:
        text = str(key)
        if entity == "item" and text != str(int(text)):
            raise BadRecord(f"{text!r} is no integer")
        return text

    def describe(
        self, entity: str, rows: Sequence[bytes | None], at_ms: int
    ) -> Mapping[str, JsonValue]:
        bags: dict[str, JsonValue] = {
            field: [{"id": hash_text(text), "weight": 0.5, "hash_of": field} for text in texts]
            for field, texts in {"brand": ["b", "unknown"], "item_id": ["4"]}.items()
        }
        return {**super().describe(entity, rows, at_ms), **bags}


class StandingClock(FakeClock):
    """Both requests come at one time, whatever sleeps before."""

    def now_ms(self) -> int:
        return 10_000


def replica_of() -> ReplicaUnderTest:
    replica = ReplicaUnderTest(
        features=Touched(), retriever=FakeRetriever(CATALOGUE), clock=StandingClock()
    )
    replica.store.kept[b"row:u1"] = b"4"
    return replica


def known(body: Any) -> Any:
    """What is said of a request: neither its own id, nor offsets of before, nor empty fields."""
    if isinstance(body, list):
        return [known(one) for one in body]
    if isinstance(body, dict):
        return {
            name: known(value)
            for name, value in body.items()
            if name != "request_id" and value not in ([], {})
        }
    return body


async def by_rest(case: Case) -> tuple[int, Any]:
    async with replica_of().client() as client:
        response = await client.request(case.method, case.path, **_json(case))
        return response.status_code, response.json()


def _json(case: Case) -> dict[str, Any]:
    return {} if case.body is None else {"json": case.body}


async def by_grpc(case: Case) -> tuple[int, Any]:
    answer, body = await local_calls(replica_of()).ask(case.call, case.message)
    return answer.status, body


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_both_answer_the_same(case: Case) -> None:
    status, by_json = asyncio.run(by_rest(case))
    assert status == case.status, by_json
    grpc_status, by_message = asyncio.run(by_grpc(case))
    assert grpc_status == status
    assert known(by_message) == known(by_json)


def test_both_show_texts_of_hashes_that_the_catalogue_knows() -> None:
    for answered in (by_rest, by_grpc):
        _, body = asyncio.run(answered(CASES["features"]))
        brands, (one,) = body["features"]["brand"], body["features"]["item_id"]
        assert [entry.get("value") for entry in brands] == ["b", None]
        assert [entry.get("hash_of") for entry in brands] == [None, "brand"]
        assert one == {"id": hash_text("4"), "weight": 0.5, "value": "4"}


def test_every_call_has_a_case_that_is_answered() -> None:
    answered = {case.call for case in CASES.values() if case.status < 300}
    calls = {call.name for call in local_calls(replica_of()).calls.all}
    assert calls - answered == {"RecommendNext"}


def test_pages_are_read_on() -> None:
    async def story(local: LocalCalls) -> tuple[Any, Any]:
        _, first = await local.ask("Recommend", {"user": "new", "k": 1, "pages": 3})
        _, second = await local.ask("RecommendNext", {"next": first["next"]})
        return first, second

    first, second = asyncio.run(story(local_calls(replica_of())))
    assert [one["id"] for one in first["items"]] != [one["id"] for one in second["items"]]
    assert second["items"]


def test_the_proto_file_has_every_call_and_message() -> None:
    async def text(client: httpx.AsyncClient) -> str:
        return (await client.get("/freshrank.proto")).text

    async def story() -> str:
        async with replica_of().client() as client:
            return await text(client)

    found = asyncio.run(story())
    calls = local_calls(replica_of()).calls
    for call in calls.all:
        assert f"  rpc {call.name}({call.request.name}) returns ({call.answer.name});" in found
    for message in calls.messages:
        assert f"\nmessage {message.name} {{\n" in found
