from __future__ import annotations

import asyncio

import httpx
import msgspec
from fake_retriever import FakeRetriever, item
from serving import ReplicaUnderTest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from freshrank.serve.app import build_app
from freshrank.serve.http.fast_path import REPLICA_HANDLERS, FastPath, Handlers
from freshrank.serve.proxy.ray_internals import http_middlewares
from freshrank.serve.scoring.service import ScoringService

JSON = {"content-type": "application/json"}


async def slow(request: Request) -> Response:
    return PlainTextResponse("slow")


async def fast(request: Request) -> Response:
    return PlainTextResponse("fast " + (await request.body()).decode())


def answer(handlers: Handlers, method: str, path: str) -> str:
    routes = [Route("/hot", slow, methods=["GET", "POST"]), Route("/cold", slow)]
    app = FastPath(Starlette(routes=routes), handlers)
    transport = httpx.ASGITransport(app)

    async def call() -> str:
        async with httpx.AsyncClient(transport=transport, base_url="http://replica") as client:
            return (await client.request(method, path, content=b"body")).text

    return asyncio.run(call())


def test_a_request_with_a_fast_handler_bypasses_the_router() -> None:
    assert answer({("POST", "/hot"): fast}, "POST", "/hot") == "fast body"


def test_other_requests_are_passed_on() -> None:
    assert answer({("POST", "/hot"): fast}, "GET", "/hot") == "slow"
    assert answer({("POST", "/hot"): fast}, "GET", "/cold") == "slow"
    assert answer({}, "POST", "/hot") == "slow"


def test_recommendations_are_answered_without_the_router_while_the_replica_runs() -> None:
    replica = ReplicaUnderTest(retriever=FakeRetriever({"3": item(), "4": item("b")}))
    replica.store.kept[b"row:u1"] = b"4"
    handlers: Handlers = {}
    told = list[set[tuple[str, str]]]()

    async def made() -> ScoringService:
        return replica.service

    async def story() -> list[httpx.Response]:
        app = build_app(made, handlers, lambda: told.append(set(handlers)))
        # As Serve has it: its own handling of requests behind the middleware, here one without
        # any route.
        served = httpx.ASGITransport(FastPath(Starlette(), handlers))
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=served, base_url="http://localhost") as client,
        ):
            asked = {"user": "u1", "exclude_seen": False}
            body, key = msgspec.json.encode(asked), {"idempotency-key": "k"}
            path = "/v1/recommend"
            return [
                await client.post(path, content=body, headers=JSON | key),
                await client.post(path, content=body, headers=JSON | key),
                await client.post(path, content=b'{"user": ""}', headers=JSON),
                await client.get(path),
            ]

    first, again, wrong, passed_on = asyncio.run(story())
    assert first.status_code == 200, first.text
    assert [one["id"] for one in first.json()["items"]] == [4, 3]
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert (wrong.status_code, wrong.json()["error"]["field"]) == (422, "user")
    assert passed_on.status_code == 404  # by the router, which has no route
    (there,) = told
    assert {("POST", "/v1/recommend"), ("POST", "/v1/recommend/next")} <= there
    assert not handlers


def test_serves_middleware_is_the_fast_path_of_this_process() -> None:
    (one,) = http_middlewares()
    made: object = one.cls
    assert made is FastPath
    assert one.kwargs["handlers"] is REPLICA_HANDLERS
