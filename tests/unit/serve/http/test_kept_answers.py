"""A request that is sent again with its idempotency key gets the same answer, shown once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fake_clock import FakeClock
from fake_retriever import FakeRetriever, item
from http_calls import candidates, get, post, talk
from serving import ReplicaUnderTest

from freshrank.actors.messages import Version
from freshrank.serve.http import kept_answers

BODY: dict[str, Any] = {"user": "u1", "candidates": candidates(3, 4)}
KEY = {"idempotency-key": "k-1"}


def replica_of(clock: FakeClock | None = None) -> ReplicaUnderTest:
    retriever = FakeRetriever({"3": item(), "4": item("b")})
    return ReplicaUnderTest(retriever=retriever, clock=clock)


PATHS: Mapping[str, dict[str, Any]] = {
    "/v1/score": BODY,
    "/v1/score/batch": {"requests": [BODY, {**BODY, "user": "u2"}]},
    "/v1/recommend": {"user": "u1"},
}


@pytest.mark.parametrize("path", list(PATHS))
def test_the_same_request_gets_the_same_answer_and_is_shown_once(path: str) -> None:
    replica = replica_of()

    async def story(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        first = await client.post(path, json=PATHS[path], headers=KEY)
        replica.store.kept[b"row:u1"] = b"4"  # by which scores would be others now
        return first, await client.post(path, json=PATHS[path], headers=KEY)

    first, again = talk(replica, story)
    assert first.status_code == again.status_code == 200
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    shown = replica.impressions()
    assert len(shown) == (2 if path == "/v1/score/batch" else 1)
    assert all(one.once for one in shown)
    assert len({one.request_id for one in shown}) == len(shown)
    text = get(replica, "/metrics").text
    assert 'freshrank_idempotent_requests_total{outcome="repeated"} 1.0' in text


@pytest.mark.parametrize("path", list(PATHS))
def test_another_replica_logs_the_same_id(path: str) -> None:
    here, there = replica_of(), replica_of()
    for replica in (here, there):
        assert post(replica, path, json=PATHS[path], headers=KEY).status_code == 200
    ids = [sorted(one.request_id for one in replica.impressions()) for replica in (here, there)]
    assert ids[0] == ids[1]
    assert len(ids[0]) >= 1
    other = replica_of()
    post(other, path, json=PATHS[path], headers={"idempotency-key": "k-2"})
    assert not {one.request_id for one in other.impressions()} & set(ids[0])


def test_an_empty_answer_has_the_id_of_the_key_too() -> None:
    replica = ReplicaUnderTest(retriever=FakeRetriever({}))
    answer = post(replica, "/v1/recommend", json={"user": "u1"}, headers=KEY).json()
    assert answer["request_id"].startswith("once-")


def test_without_a_key_each_request_is_another_one() -> None:
    replica = replica_of()
    for _ in range(2):
        post(replica, "/v1/score", json=BODY)
    assert len({one.request_id for one in replica.impressions()}) == 2
    assert not any(one.once for one in replica.impressions())


def test_a_key_of_another_request_is_refused_while_it_is_kept() -> None:
    clock = FakeClock()
    replica = replica_of(clock)

    async def story(client: httpx.AsyncClient) -> list[httpx.Response]:
        other = BODY | {"show": 1}
        answers = [await client.post("/v1/score", json=BODY, headers=KEY)]
        answers.append(await client.post("/v1/score", json=other, headers=KEY))
        answers.append(await client.post("/v1/recommend", json={"user": "u1"}, headers=KEY))
        clock.advance(kept_answers.KEPT_S)
        answers.append(await client.post("/v1/score", json=other, headers=KEY))
        return answers

    answers = talk(replica, story)
    assert [one.status_code for one in answers] == [200, 409, 200, 200]
    assert answers[1].json()["error"]["field"] == "Idempotency-Key"
    assert "idempotent-replayed" not in answers[3].headers


def test_what_failed_is_tried_again() -> None:
    replica = replica_of()

    async def story(client: httpx.AsyncClient) -> list[int]:
        body = BODY | {"min_version": "1.6"}
        first = await client.post("/v1/score", json=body, headers=KEY)
        replica.model.version = Version(1, 6)
        again = await client.post("/v1/score", json=body, headers=KEY)
        return [first.status_code, again.status_code]

    assert talk(replica, story) == [409, 200]


def test_a_request_that_comes_while_the_first_is_answered_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replica = replica_of()
    going_on, entered = asyncio.Event(), asyncio.Event()
    score, calls = replica.service.score, list[str | None]()

    async def slow(body: bytes, request_id: str | None = None) -> Any:
        calls.append(request_id)
        entered.set()
        await going_on.wait()
        return await score(body, request_id)

    monkeypatch.setattr(replica.service, "score", slow)

    async def story(client: httpx.AsyncClient) -> list[bytes]:
        async def ask() -> httpx.Response:
            return await client.post("/v1/score", json=BODY, headers=KEY)

        gone = asyncio.create_task(ask())
        await entered.wait()
        waiting = asyncio.create_task(ask())
        gone.cancel()  # the first client has hung up
        going_on.set()
        return [(await waiting).content, (await ask()).content]

    first, again = talk(replica, story)
    assert first == again
    assert len(calls) == 1
    assert len(replica.impressions()) == 1


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_wrong_key_is_named(key: str) -> None:
    headers = [(b"idempotency-key", key.encode())]
    answer = post(replica_of(), "/v1/score", json=BODY, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "Idempotency-Key"


def test_what_is_kept_is_bounded_and_what_is_forgotten_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ask(client: httpx.AsyncClient, key: str) -> bool:
        answer = await client.post("/v1/score", json=BODY, headers={"idempotency-key": key})
        return "idempotent-replayed" in answer.headers

    async def story(client: httpx.AsyncClient) -> list[bool]:
        await ask(client, "a")
        await ask(client, "b")
        await ask(client, "c")
        return [await ask(client, "c"), await ask(client, "a")]

    size = len(post(replica_of(), "/v1/score", json=BODY, headers=KEY).content)
    for bound, value in (("MOST_KEPT", 2), ("MOST_KEPT_BYTES", size * 5 // 2)):
        with monkeypatch.context() as patch:
            patch.setattr(f"freshrank.serve.http.kept_answers.{bound}", value)
            replica = replica_of()
            assert talk(replica, story) == [True, False], bound
            text = get(replica, "/metrics").text
        assert 'freshrank_idempotent_requests_total{outcome="forgotten"} 2.0' in text


def test_the_document_tells_of_the_key() -> None:
    paths = get(replica_of(), "/openapi.json").json()["paths"]
    taking = {
        path
        for path, operations in paths.items()
        for one in operations.get("post", {}).get("parameters", ())
        if (one["name"], one["in"], one["required"]) == ("Idempotency-Key", "header", False)
    }
    assert taking == {*PATHS, "/v1/recommend/next"}
