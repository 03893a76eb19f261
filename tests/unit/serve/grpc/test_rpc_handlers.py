"""Calls are checked, bounded, counted and repeated as requests of REST are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from grpc_calls import local_calls
from http_calls import candidates
from serving import FakeModel, ReplicaUnderTest

from freshrank.actors.messages import Version
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.grpc.rpc_handlers import Metadata, RpcAnswer
from freshrank.serve.grpc.server import code_of

SCORE: dict[str, Any] = {"user": "u1", "candidates": candidates(3, 4)}
KEY = "fr_00000001_" + "s" * 43


def ask(
    replica: ReplicaUnderTest,
    name: str,
    request: Any,
    metadata: Metadata = (),
    remaining_s: float | None = None,
) -> tuple[RpcAnswer, Any]:
    return asyncio.run(local_calls(replica).ask(name, request, metadata, remaining_s))


def test_an_error_names_the_field_and_has_the_status_of_rest(replica: ReplicaUnderTest) -> None:
    wrong = {**SCORE, "candidates": [{"item_id": 3, "note": "n"}]}
    answer, body = ask(replica, "Score", wrong)
    assert answer.status == 422
    assert body["error"]["field"] == "candidates[0].price"
    assert answer.problem is not None and answer.problem.field == "candidates[0].price"


def test_a_request_without_candidates_is_refused_by_their_name(replica: ReplicaUnderTest) -> None:
    _, body = ask(replica, "Score", {"user": "u1"})
    assert body["error"]["field"] == "candidates"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (422, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (409, "FAILED_PRECONDITION"),
        (413, "RESOURCE_EXHAUSTED"),
        (429, "RESOURCE_EXHAUSTED"),
        (431, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_each_status_has_a_code(status: int, code: str) -> None:
    assert code_of(status).name == code


def test_the_key_is_in_the_metadata_and_checked_before_the_message_is_read() -> None:
    replica = ReplicaUnderTest(access={"require_keys": True, "api_key": KEY})
    for name, message in (("Score", b"\xff"), ("Features", b"\xff"), ("Model", b"")):
        answer = asyncio.run(local_calls(replica).sent(name, message))
        assert (answer.status, name) == (401, name)
    right = (("authorization", f"Bearer {KEY}"),)
    assert ask(replica, "Score", SCORE, right)[0].status == 200
    assert ask(replica, "Score", SCORE, (("authorization", "Bearer x"),))[0].status == 401
    assert asyncio.run(local_calls(replica).sent("Features", b"\xff", right)).status == 400


def test_a_replica_that_is_full_says_so_and_when_to_come_again() -> None:
    answer, _ = ask(ReplicaUnderTest(max_ongoing_requests=0), "Score", SCORE)
    assert answer.status == 503
    assert answer.trailer == (("retry-after", "1"),)


def test_the_body_is_bounded_as_in_json() -> None:
    limits = RequestLimits(body_bytes=200)
    long = {**SCORE, "candidates": candidates(*range(9))}
    assert ask(ReplicaUnderTest(limits), "Score", long)[0].status == 413


def test_calls_are_counted_with_the_requests_of_their_route(replica: ReplicaUnderTest) -> None:
    ask(replica, "Score", SCORE)
    ask(replica, "Score", {"user": "u1"})
    text = asyncio.run(replica.service.status.expose()).decode()
    for status in (200, 422):
        assert f'freshrank_requests_total{{route="/v1/score",status="{status}"}} 1.0' in text


def test_a_call_that_is_sent_again_with_its_key_gets_the_same_answer(
    replica: ReplicaUnderTest,
) -> None:
    local, metadata = local_calls(replica), (("idempotency-key", "k-1"),)

    async def story() -> list[RpcAnswer]:
        first, _ = await local.ask("Score", SCORE, metadata, 9.0)
        replica.store.kept[b"row:u1"] = b"4"  # by which scores would be others now
        again, _ = await local.ask("Score", SCORE, metadata, 3.0)
        other, _ = await local.ask("Score", {**SCORE, "user": "u2"}, metadata)
        return [first, again, other]

    first, again, other = asyncio.run(story())
    assert first.message == again.message
    assert (first.trailer, again.trailer) == ((), (("idempotent-replayed", "true"),))
    assert other.status == 409


class Waits(FakeModel):
    """Weights that arrive at once, and how long they would have been waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    async def wait_for(self, version: Version, timeout_s: float) -> None:
        self.waited.append(timeout_s)


def test_a_call_waits_as_long_as_its_deadline_allows() -> None:
    model = Waits()
    wanting = {**SCORE, "min_version": "9.0"}
    for remaining_s, request in (
        (4.0, wanting),
        (60.0, wanting),
        (-1.0, wanting),
        (4.0, {**wanting, "timeout_ms": 7}),
        (None, wanting),
    ):
        ask(ReplicaUnderTest(model=model), "Score", request, remaining_s=remaining_s)
    assert model.waited == pytest.approx([3.6, 10.0, 0.0, 0.007, 1.0])


def test_a_long_reason_fits_into_a_trailer() -> None:
    answer, body = ask(ReplicaUnderTest(), "Score", {**SCORE, "on_bad_candidate": "ß" * 9_000})
    assert answer.status == 422
    assert body["error"]["field"] == "on_bad_candidate"
    assert body["error"]["reason"].endswith(" ...")
    assert len(answer.message) < 1_100
