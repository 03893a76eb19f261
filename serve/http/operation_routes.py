"""The routes by which operators, probes and Prometheus watch a replica."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from freshrank.serve.access.api_keys import Scope
from freshrank.serve.api.responses import HealthAnswer, ReadyAnswer, Statuses
from freshrank.serve.http.json_response import JsonResponse
from freshrank.serve.http.page.assembly import page
from freshrank.serve.http.route_spec import Answer, RouteSpec
from freshrank.serve.scoring.service import ScoringService


class OperationRoutes:
    """A part of the route table."""

    def __init__(self, service: ScoringService) -> None:
        self._service = service
        self._page = page()

    def specs(self) -> list[RouteSpec]:
        """All of them."""
        return [*self._probes(), *self._of_metrics(), self._of_the_page()]

    def _probes(self) -> list[RouteSpec]:
        return [
            RouteSpec(
                method="GET",
                path="/healthz",
                operation="health",
                scope=None,
                summary="Whether this replica works; if not, it is replaced",
                handler=self.healthz,
                answers={200: Answer(HealthAnswer, "Yes"), 503: Answer(HealthAnswer, "No")},
            ),
            RouteSpec(
                method="GET",
                path="/readyz",
                operation="ready",
                scope=None,
                summary="Whether this replica has weights, its catalogue, and a store that answers",
                handler=self.readyz,
                answers={200: Answer(ReadyAnswer, "Yes"), 503: Answer(ReadyAnswer, "No")},
            ),
        ]

    def _of_metrics(self) -> list[RouteSpec]:
        return [
            RouteSpec(
                method="GET",
                path="/v1/status",
                operation="status",
                scope=Scope.METRICS,
                summary="The metrics of all parts",
                handler=self.statuses,
                answers={200: Answer(Statuses)},
            ),
            RouteSpec(
                method="GET",
                path="/metrics",
                operation="metrics",
                scope=Scope.METRICS,
                summary="Prometheus metrics",
                handler=self.metrics,
                answers={200: Answer(media_type="text/plain")},
            ),
        ]

    def _of_the_page(self) -> RouteSpec:
        return RouteSpec(
            method="GET",
            path="/",
            operation="page",
            scope=None,
            summary="A web page that shows metrics and sends events and requests",
            handler=self.page,
            answers={200: Answer(media_type="text/html")},
        )

    async def healthz(self, request: Request) -> Response:
        """GET /healthz."""
        broken = self._service.health()
        return JsonResponse(HealthAnswer(broken is None, broken), 503 if broken else 200)

    async def readyz(self, request: Request) -> Response:
        """GET /readyz."""
        missing = await self._service.readiness()
        return JsonResponse(ReadyAnswer(not missing, missing), 503 if missing else 200)

    async def statuses(self, request: Request) -> Response:
        """GET /v1/status."""
        return JsonResponse(await self._service.status.collect())

    async def metrics(self, request: Request) -> Response:
        """GET /metrics."""
        text = await self._service.status.expose()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def page(self, request: Request) -> Response:
        """GET /."""
        headers = {"Content-Security-Policy": self._page.policy}
        return HTMLResponse(self._page.html, headers=headers)
