"""Routing, OpenAPI and the values of parameters follow from the declaration of each route."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from freshrank.actors.clock import SystemClock
from freshrank.serve.access.api_keys import Scope
from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.autoscaling.request_load import RequestLoad
from freshrank.serve.http.json_response import JsonResponse
from freshrank.serve.http.openapi import document
from freshrank.serve.http.route_spec import Answer, Parameter, RouteSpec
from freshrank.serve.http.routes import RouteHandlers, no_such_route, starlette_routes
from freshrank.serve.monitoring.metrics import ServeMetrics
from freshrank.serve.settings import ServeSettings

KEY: Parameter[str] = Parameter("key", str)
LIMIT: Parameter[int] = Parameter("limit", Annotated[int, msgspec.Meta(ge=1, le=9)], 3)
FORMAT: Parameter[str] = Parameter("format", str)


async def read(request: Request) -> Response:
    return JsonResponse([KEY.of(request), LIMIT.of(request), FORMAT.of(request)])


async def write(request: Request) -> Response:
    return JsonResponse("written")


async def alive(request: Request) -> Response:
    return JsonResponse("alive")


JSON_BODY = {"content-type": "application/json"}

SPECS = [
    RouteSpec(
        method="GET",
        path="/things/{key:path}/parts",
        operation="read",
        summary="Read",
        handler=read,
        scope=Scope.SCORE,
        parameters=(KEY, LIMIT, FORMAT),
        answers={200: Answer(list[Any])},
        errors=(404,),
    ),
    RouteSpec(
        method="POST",
        path="/things/{key:path}/parts",
        operation="write",
        summary="Write",
        handler=write,
        scope=Scope.EVENTS,
        parameters=(KEY,),
        answers={200: Answer(str)},
        body=list[int],
    ),
    RouteSpec(
        method="GET",
        path="/alive",
        operation="alive",
        summary="Alive",
        handler=alive,
        scope=None,
        answers={200: Answer(str)},
    ),
]


def ask(method: str, path: str) -> httpx.Response:
    guard, load = RequestGuard(ServeSettings()), RequestLoad(SystemClock())
    handlers = RouteHandlers(RequestLimits(), guard, load, 1, ServeMetrics()).of(SPECS)
    app = Starlette(
        routes=starlette_routes(handlers), exception_handlers={HTTPException: no_such_route}
    )

    async def talk() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=JSON_BODY)

    return asyncio.run(talk())


def test_parameters_are_read_from_path_and_query_and_have_defaults() -> None:
    assert ask("GET", "/things/a%2Fb/parts?format=x").json() == ["a/b", 3, "x"]
    assert ask("GET", "/things/a/b/parts?limit=9&format=").json() == ["a/b", 9, ""]


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("limit=0&format=x", "limit", "Expected `int` >= 1"),
        ("limit=ten&format=x", "limit", "Expected `int`, got `str`"),
        ("limit=2", "format", "is missing"),
        (
            "format=x&limits=2",
            "limits",
            "unknown query parameter; did you mean `limit`? It takes: `limit`, `format`",
        ),
        ("format=x&key=b", "key", "unknown query parameter. It takes: `limit`, `format`"),
    ],
)
def test_a_wrong_parameter_is_a_422_that_names_it(query: str, field: str, reason: str) -> None:
    answer = ask("GET", f"/things/a/parts?{query}")
    assert answer.status_code == 422
    assert answer.json()["error"] == {"field": field, "reason": reason}


def test_a_query_is_refused_where_the_route_takes_none() -> None:
    answer = ask("POST", "/things/a/parts?trace=1")
    reason = "unknown query parameter. It takes: nothing"
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        {"field": "trace", "reason": reason},
    )


def test_probes_take_any_query() -> None:
    assert ask("GET", "/alive?cachebuster=1").json() == "alive"


def test_a_path_has_the_methods_that_are_declared_for_it_and_head() -> None:
    assert ask("POST", "/things/a/parts").json() == "written"
    assert ask("HEAD", "/things/a/parts?format=x").status_code == 200
    answer = ask("DELETE", "/things/a/parts")
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    reason = "the path takes GET, HEAD, POST, not DELETE"
    assert answer.json()["error"] == {"field": "method", "reason": reason}


def test_a_path_that_is_not_known_is_told_with_where_to_look() -> None:
    reason = "there is no '/v1/recomend'. GET /openapi.json lists what there is"
    answer = ask("GET", "/v1/recomend")
    assert (answer.status_code, answer.json()["error"]) == (
        404,
        {"field": "path", "reason": reason},
    )
    assert len(ask("GET", f"/{'x' * 5_000}").text) < 300


def test_the_document_has_parameters_with_their_place_bounds_and_defaults() -> None:
    operations = document("shop", SPECS)["paths"]["/things/{key}/parts"]
    assert set(operations) == {"get", "post"}
    assert operations["get"]["parameters"] == [
        {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}},
        {
            "name": "limit",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        },
        {"name": "format", "in": "query", "required": True, "schema": {"type": "string"}},
    ]


def test_the_document_names_the_scope_of_each_route_and_how_a_key_is_given() -> None:
    whole = document("shop", SPECS)
    operations = whole["paths"]["/things/{key}/parts"]
    (scheme,) = whole["components"]["securitySchemes"]
    assert operations["get"]["security"] == [{}, {scheme: ["score"]}]
    assert operations["post"]["security"] == [{}, {scheme: ["events"]}]
    described = whole["components"]["securitySchemes"][scheme]
    assert (described["type"], described["scheme"]) == ("http", "bearer")


def test_the_document_has_the_errors_of_each_route() -> None:
    operations = document("shop", SPECS)["paths"]["/things/{key}/parts"]
    assert list(operations["get"]["responses"]) == [
        "200", "401", "403", "404", "421", "422", "429", "431", "500", "503",
    ]  # fmt: skip
    assert list(operations["post"]["responses"]) == [
        "200", "400", "401", "403", "408", "413", "415", "421", "422", "429", "431", "500", "503",
    ]  # fmt: skip
