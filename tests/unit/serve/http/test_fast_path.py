from __future__ import annotations

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from freshrank.serve.http.fast_path import REPLICA_HANDLERS, FastPath, Handlers
from freshrank.serve.proxy.ray_internals import http_middlewares


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


def test_serves_middleware_is_the_fast_path_of_this_process() -> None:
    (one,) = http_middlewares()
    made: object = one.cls
    assert made is FastPath
    assert one.kwargs["handlers"] is REPLICA_HANDLERS
