"""GET /freshrank.proto: the messages and calls of gRPC, of which clients are generated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from freshrank.serve.access.api_keys import Scope
from freshrank.serve.grpc.rpc_table import RpcTable
from freshrank.serve.http.route_spec import Answer, RouteSpec


class ProtoRoute:
    """The route about the other routes of a pipeline."""

    def __init__(self, pipeline: str, others: Sequence[RouteSpec]) -> None:
        self._pipeline = pipeline
        self._others = others

    def spec(self) -> RouteSpec:
        """Its declaration."""
        return RouteSpec(
            method="GET",
            path="/freshrank.proto",
            operation="proto",
            scope=Scope.SCORE,
            summary="The messages and calls of the same API over gRPC (`serve.grpc_port`)",
            handler=self.proto,
            answers={200: Answer(media_type="text/plain")},
        )

    async def proto(self, request: Request) -> Response:
        """GET /freshrank.proto."""
        return PlainTextResponse(self._text)

    @cached_property
    def _text(self) -> str:
        return RpcTable(self._others).text(self._pipeline)
