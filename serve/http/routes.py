"""TODO-DOC."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from freshrank.actors.errors import FreshrankError, RequestError
from freshrank.serve.api.errors import answer_of, problem, status_of
from freshrank.serve.api.responses import HealthAnswer, ReadyAnswer
from freshrank.serve.http.fast_path import Handler
from freshrank.serve.http.openapi import document
from freshrank.serve.http.page.assembly import page
from freshrank.serve.scoring.service import ScoringService

# Asked for at every page view of a shop; all other routes together are not.
_HOT = "/v1/score"


# A client that sends its body slower than this holds a place that others wait for.
BODY_DEADLINE_S = 5.0


# What a client should wait when this replica has too much to do.
_RETRY_AFTER_S = "1"


_logger = logging.getLogger(__name__)


_encode = msgspec.json.Encoder().encode


class Routes:
    """One handler a route: unwrap, call the service, answer."""

    def __init__(self, service: ScoringService) -> None:
        self._service = service
        self._limits = service.settings.limits
        self._page = page()
        self._document = _encode(document(service))
        self._ongoing = 0

    def table(self) -> list[Route]:
        """The routes; each knows its own methods, and answers errors as JSON."""
        return [
            self._route(_HOT, self._shed(self.score), "POST"),
            self._route("/v1/events", self._shed(self.events), "POST"),
            self._route("/v1/features/{entity}/{id:path}", self._shed(self.features)),
            self._route("/v1/model", self.model),
            self._route("/v1/pipeline", self.pipeline),
            self._route("/v1/status", self.status),
            self._route("/healthz", self.healthz),
            self._route("/readyz", self.readyz),
            self._route("/metrics", self.metrics),
            self._route("/openapi.json", self.openapi),
            self._route("/", self.page),
        ]

    async def score(self, request: Request) -> Response:
        """POST /v1/score."""
        return _json(await self._service.score(await self._body(request)))

    async def events(self, request: Request) -> Response:
        """POST /v1/events."""
        return _json(await self._service.add_events(await self._body(request)))

    async def features(self, request: Request) -> Response:
        """GET /v1/features/{entity}/{id}."""
        path = request.path_params
        return _json(await self._service.features(path["entity"], path["id"]))

    async def model(self, request: Request) -> Response:
        """GET /v1/model."""
        return _json(self._service.model())

    async def pipeline(self, request: Request) -> Response:
        """GET /v1/pipeline."""
        return _json(self._service.describe())

    async def status(self, request: Request) -> Response:
        """GET /v1/status."""
        return _json(await self._service.statuses())

    async def healthz(self, request: Request) -> Response:
        """GET /healthz: 200 while this replica can go on."""
        broken = self._service.health()
        return _json(HealthAnswer(broken is None, broken), 503 if broken else 200)

    async def readyz(self, request: Request) -> Response:
        """GET /readyz: 200 while it holds weights and the online store answers."""
        missing = await self._service.readiness()
        return _json(ReadyAnswer(not missing, missing), 503 if missing else 200)

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        text = await self._service.expose_metrics()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json."""
        return Response(self._document, media_type="application/json")

    async def page(self, request: Request) -> Response:
        """GET /: figures to watch, and a person to play."""
        headers = {"Content-Security-Policy": self._page.policy}
        return HTMLResponse(self._page.html, headers=headers)

    def _route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        metrics = self._service.metrics

        async def answered(request: Request) -> Response:
            try:
                response = await self._answer(handler, request)
            except Exception as error:
                _logger.exception("%s failed", path)
                response = await _our_fault(request, error)
            metrics.answered(path, response.status_code)
            return response

        return Route(path, answered, methods=[method])

    def _shed(self, handler: Handler) -> Handler:
        """Refuse what is too much at once. What watches the replica is never refused."""

        async def shed(request: Request) -> Response:
            if self._ongoing >= self._limits.requests:
                raise RequestError("server", "too many requests at once", status=503)
            self._ongoing += 1
            try:
                return await handler(request)
            finally:
                self._ongoing -= 1

        return shed

    async def _answer(self, handler: Handler, request: Request) -> Response:
        try:
            _check_headers(request, self._limits.header_bytes)
            return await handler(request)
        except FreshrankError as error:
            response = _json(answer_of(error), status_of(error))
            if response.status_code == 503:
                response.headers["Retry-After"] = _RETRY_AFTER_S
            return response

    async def _body(self, request: Request) -> bytes:
        """The whole body; raises RequestError when it is too large or comes too slowly."""
        bound = self._limits.body_bytes
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_DEADLINE_S):
                async for part in request.stream():
                    size += len(part)
                    if size > bound:
                        raise RequestError("body", f"more than {bound} bytes", status=413)
                    parts.append(part)
        except TimeoutError as error:
            reason = f"not complete after {BODY_DEADLINE_S} s"
            raise RequestError("body", reason, status=408) from error
        except ClientDisconnect as error:  # nobody is left to read the answer
            raise RequestError("body", "the client went away", status=400) from error
        return b"".join(parts)


def _check_headers(request: Request, bound: int) -> None:
    """Raise RequestError when the headers are larger than a client of ours has reason to send."""
    size = sum(len(name) + len(value) for name, value in request.scope["headers"])
    if size > bound:
        raise RequestError("headers", f"{size} bytes, more than {bound}", status=431)


async def _our_fault(request: Request, error: Exception) -> Response:
    """What nobody foresaw: it is logged with its trace, and the caller learns that it was us."""
    return _json(problem("server", f"unexpected {type(error).__name__}"), 500)


def _json(content: object, status: int = 200) -> Response:
    return Response(_encode(content), status, media_type="application/json")
