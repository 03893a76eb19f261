"""From declared routes to handlers and to Starlette's routes, with the bounds that all share."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping

from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from freshrank.actors.errors import FreshrankError, RequestError, TooManyRequests, nearest
from freshrank.serve.access.request_guard import RawHeaders, RequestGuard
from freshrank.serve.api.errors import answer_of, problem, status_of
from freshrank.serve.api.requests import RequestLimits
from freshrank.serve.autoscaling.request_load import RequestLoad
from freshrank.serve.http.fast_path import Handlers
from freshrank.serve.http.json_response import JsonResponse
from freshrank.serve.http.route_spec import Handler, RouteSpec
from freshrank.serve.monitoring.metrics import ServeMetrics

# Retry-After of a 503, in seconds: how long a client waits before it tries again.
_RETRY_AFTER_S = "1"
# Characters of a path that is not known which its error repeats.
_SHOWN_PATH = 100
# Paths that are there where the pipeline has sources of candidates.
_OF_CANDIDATES = ("/v1/recommend", "/v1/recommend/next", "/v1/similar")


class _AnyText(Convertor[str]):
    """A path parameter of any text. That of Starlette's ``path`` ends before a line feed."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())

_logger = logging.getLogger(__name__)


class RouteHandlers:
    """Makes handlers that bound requests, turn errors into JSON and count answers.

    Parameters
    ----------
    guard
        Checks the headers of each request.
    load
        Counts the requests of limited routes while they are answered.
    max_ongoing
        So many of them are answered at the same time; others get 503.
    """

    def __init__(
        self,
        limits: RequestLimits,
        guard: RequestGuard,
        load: RequestLoad,
        max_ongoing: int,
        metrics: ServeMetrics,
    ) -> None:
        self._limits = limits
        self._guard = guard
        self._load = load
        self._max_ongoing = max_ongoing
        self._metrics = metrics

    def of(self, specs: Iterable[RouteSpec]) -> Handlers:
        """The handler of each route, by method and path. None of them raises."""
        return {(spec.method, spec.path): self._bounded(spec) for spec in specs}

    def _bounded(self, spec: RouteSpec) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                response = await self._answer(spec, request)
            except Exception as error:
                _logger.exception("%s %s failed", spec.method, spec.path)
                response = await internal_error(request, error)
            self._metrics.answered(spec.path, response.status_code)
            return response

        return handle

    async def _answer(self, spec: RouteSpec, request: Request) -> Response:
        try:
            headers = request.scope["headers"]
            self._check_size(headers)
            self._guard.check(headers, has_body=spec.body is not None, scope=spec.scope)
            # Probes and browsers add what they like: the routes that need no key take it.
            if spec.scope is not None and request.scope["query_string"]:
                spec.check_query(request.query_params)
            if not spec.limited:
                return await spec.handler(request)
            if self._load.ongoing >= self._max_ongoing:
                raise RequestError("server", "too many requests at once", status=503)
            with self._load.request():
                return await spec.handler(request)
        except FreshrankError as error:
            response = JsonResponse(answer_of(error), status_of(error))
            if isinstance(error, TooManyRequests):
                response.headers["Retry-After"] = str(math.ceil(error.wait_s))
            elif response.status_code == 503:
                response.headers["Retry-After"] = _RETRY_AFTER_S
            elif response.status_code == 401:
                response.headers["WWW-Authenticate"] = "Bearer"
            return response

    def _check_size(self, headers: RawHeaders) -> None:
        bound = self._limits.header_bytes
        size = sum([len(name) + len(value) for name, value in headers])
        if size > bound:
            raise RequestError("headers", f"{size} bytes, more than {bound}", status=431)


def starlette_routes(handlers: Handlers) -> list[Route]:
    """One route for each path, for all its methods: a 405 then names all of them."""
    by_path: dict[str, dict[str, Handler]] = {}
    for (method, path), handler in handlers.items():
        by_path.setdefault(path, {})[method] = handler
    return [Route(path, _by_method(found), methods=list(found)) for path, found in by_path.items()]


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        # Starlette admits HEAD where there is GET; the server leaves the body out.
        method = "GET" if request.method == "HEAD" else request.method
        return await handlers[method](request)

    return handle


async def no_such_route(request: Request, error: Exception) -> Response:
    """404 for an unknown path, or 405 with Allow for another method than the path has."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        taken = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        wrong = problem("method", f"the path takes {taken}, not {request.method}")
    else:
        path = request.url.path[:_SHOWN_PATH]
        near = nearest(path, [one.path for one in request.app.routes if isinstance(one, Route)])
        meant = f"; did you mean {near}?" if near else "."
        if path in _OF_CANDIDATES:
            meant = ": the pipeline has no sources of candidates (`Pipeline(candidates=[...])`)."
        wrong = problem(
            "path", f"there is no {path!r}{meant} GET /openapi.json lists what there is"
        )
    response = JsonResponse(wrong, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def internal_error(request: Request, error: Exception) -> Response:
    """500 for an error that is a defect of ours; its type is named, its text is in the log."""
    return JsonResponse(problem("server", f"unexpected {type(error).__name__}"), 500)
