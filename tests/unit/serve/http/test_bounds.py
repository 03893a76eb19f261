"""Requests that are too large, too slow or for no route are refused, with an error body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from fake_clock import FakeClock, settle
from http_calls import candidates, get, post, score, talk
from serving import FakeFeatures, FakeModel, ReplicaUnderTest

from freshrank.actors.errors import BadRecord, Unavailable
from freshrank.actors.messages import Inputs, Version
from freshrank.serve.api.requests import RequestLimits


def test_an_unknown_path_is_a_404_with_an_error_body(replica: ReplicaUnderTest) -> None:
    answer = get(replica, "/v1/scores")
    assert answer.status_code == 404
    reason = (
        "there is no '/v1/scores'; did you mean /v1/score? GET /openapi.json lists what there is"
    )
    assert answer.json()["error"] == {"field": "path", "reason": reason}


@pytest.mark.parametrize("path", ["/v1/features/ann", "/v1/status/"])
def test_no_path_is_answered_with_another(replica: ReplicaUnderTest, path: str) -> None:
    assert get(replica, path).status_code == 404


def test_a_wrong_method_is_a_405_that_names_the_right_one(replica: ReplicaUnderTest) -> None:
    answer = get(replica, "/v1/score")
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]
    assert answer.json()["error"]["field"] == "method"


def test_headers_beyond_the_bound_are_a_431(replica: ReplicaUnderTest) -> None:
    headers = {"x-much": "x" * RequestLimits().header_bytes}
    answer = post(replica, "/v1/score", json={}, headers=headers)
    assert answer.status_code == 431
    assert answer.json()["error"]["field"] == "headers"


def test_a_body_that_does_not_come_is_a_408(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freshrank.serve.http.request_body.BODY_DEADLINE_S", 0.01)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    assert post(replica, "/v1/score", content=trickle()).status_code == 408


def test_probes_and_metrics_are_answered_while_requests_are_refused() -> None:
    full = ReplicaUnderTest(max_ongoing_requests=0)
    assert score(full).status_code == 503
    for path in ("/healthz", "/readyz", "/metrics", "/v1/status"):
        assert get(full, path).status_code == 200, path


def test_a_request_that_fails_no_longer_counts_as_ongoing() -> None:
    one = ReplicaUnderTest(max_ongoing_requests=1)

    async def story(client: httpx.AsyncClient) -> list[int]:
        bodies = [{}, {"user": "u", "candidates": candidates(1)}]
        return [(await client.post("/v1/score", json=body)).status_code for body in bodies]

    assert talk(one, story) == [422, 200]


@pytest.mark.parametrize("path", ["/v1/score", "/v1/explain"], ids=["fast path", "slow path"])
def test_each_limited_request_is_in_the_load_of_the_replica(path: str) -> None:
    replica = ReplicaUnderTest()

    async def story(client: httpx.AsyncClient) -> set[int]:
        body = {"user": "u", "candidates": candidates(1)}
        answers = [await client.post(path, json=body) for _ in range(100)]
        return {answer.status_code for answer in answers}

    assert talk(replica, story) == {200}
    load = replica.service.load.sample()
    assert load.ongoing > 0
    assert load.p99_ms is not None


class WaitingModel(FakeModel):
    """Weights that do not become newer for as long as a request waits for them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        await self._clock.sleep(timeout_s)
        await super().wait_for(version, timeout_s)


def test_probes_and_what_requests_wait_for_are_no_load() -> None:
    clock = FakeClock()
    replica = ReplicaUnderTest(model=WaitingModel(clock), clock=clock)

    async def story(client: httpx.AsyncClient) -> set[int]:
        await client.get("/v1/status")
        late = {"min_version": "9.0", "timeout_ms": 300}
        body = {"user": "u", "candidates": candidates(1), **late}
        return {(await client.post("/v1/score", json=body)).status_code for _ in range(100)}

    assert talk(replica, story) == {409}
    assert clock.slept.count(0.3) == 100
    load = replica.service.load.sample()
    assert load.ongoing == 0.0
    assert load.p99_ms == pytest.approx(0.01, rel=0.05)


class BrokenFeatures(FakeFeatures):
    def inputs(self, *arguments: Any) -> Inputs:
        raise ZeroDivisionError


def test_an_internal_error_is_a_500_with_an_error_body() -> None:
    replica = ReplicaUnderTest(features=BrokenFeatures())

    async def call() -> httpx.Response:
        async with replica.client(raises=False) as client:
            body = {"user": "u", "candidates": candidates(1)}
            return await client.post("/v1/score", json=body)

    answer = asyncio.run(call())
    assert answer.status_code == 500
    assert answer.json()["error"] == {"field": "server", "reason": "unexpected ZeroDivisionError"}


def test_an_event_that_cannot_be_written_is_a_503(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(topic: str, key: bytes, value: bytes) -> tuple[int, int]:
        raise Unavailable("kafka", "no leader")

    monkeypatch.setattr(replica.sink, "send", refuse)
    answer = post(replica, "/v1/events", json={"user_id": "a"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == {"field": "kafka", "reason": "no leader"}


def test_an_event_that_is_too_large_for_its_topic_is_a_413_without_retry_after(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(topic: str, key: bytes, value: bytes) -> None:
        raise BadRecord("17 bytes are more than topic 'events' takes")

    monkeypatch.setattr(replica.sink, "send", refuse)
    answer = post(replica, "/v1/events", json={"user_id": "a"})
    assert answer.status_code == 413
    assert "retry-after" not in answer.headers
    error = {"field": "events", "reason": "17 bytes are more than topic 'events' takes"}
    assert answer.json()["error"] == error


def test_a_score_is_given_when_its_impression_cannot_be_logged(
    replica: ReplicaUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(topic: str, key: bytes, value: bytes) -> None:
        raise Unavailable("kafka", "queue full")

    monkeypatch.setattr(replica.sink, "send_nowait", refuse)

    async def story(client: httpx.AsyncClient) -> tuple[int, str]:
        body = {"user": "u", "candidates": candidates(1)}
        status = (await client.post("/v1/score", json=body)).status_code
        await settle()  # the impression is logged after the answer
        return status, (await client.get("/metrics")).text

    status, text = talk(replica, story)
    assert status == 200
    assert 'freshrank_impressions_total{outcome="lost"} 1.0' in text


def candidates_of(items: Sequence[float]) -> list[dict[str, Any]]:
    return [{"item_id": item, "note": "n", "price": 2} for item in items]


def test_an_integral_float_is_read_as_an_integer(replica: ReplicaUnderTest) -> None:
    replica.store.kept[b"row:u1"] = b"4"
    answer = score(replica, candidates=candidates_of([3.0, 4.0]), show=1.0)
    assert answer.json()["ranking"] == [1, 0]


def test_a_fractional_float_is_refused_where_an_integer_is_expected(
    replica: ReplicaUnderTest,
) -> None:
    answer = score(replica, candidates=candidates_of([3.0, 4.5]))
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "candidates[1].item_id"


def test_an_event_with_integral_floats_is_written_with_integers(replica: ReplicaUnderTest) -> None:
    answer = post(replica, "/v1/events", json=[{"user_id": "a", "ts": 5.0}])
    (place,) = answer.json()["positions"]
    (value,) = replica.log.read("behaviour", place["partition"], 0, 10).values
    assert value == b'{"user_id":"a","ts":5}'
