"""The ASGI application of one replica: routes around a `ScoringService`. Knows no Ray.

The same routes are answered over gRPC, where the settings have a port for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from freshrank.serve.access.request_guard import RequestGuard
from freshrank.serve.grpc.health import HealthCalls
from freshrank.serve.grpc.proto_route import ProtoRoute
from freshrank.serve.grpc.rpc_handlers import RpcHandlers
from freshrank.serve.grpc.rpc_table import RpcTable
from freshrank.serve.grpc.server import GrpcServer
from freshrank.serve.http.fast_path import FastPath, Handlers
from freshrank.serve.http.route_spec import RouteSpec
from freshrank.serve.http.route_table import RouteTable
from freshrank.serve.http.routes import (
    RouteHandlers,
    internal_error,
    no_such_route,
    starlette_routes,
)
from freshrank.serve.scoring.rehearsal import rehearse
from freshrank.serve.scoring.service import ScoringService

ServiceFactory: TypeAlias = Callable[[], Awaitable[ScoringService]]
"""Makes a replica's service in the replica's process, to which it may be sent pickled."""


def build_app(
    factory: ServiceFactory,
    fast: Handlers | None = None,
    started: Callable[[], None] = lambda: None,
) -> Starlette:
    """The application; while it runs, `fast` holds the handlers of the routes on the fast path.

    The service is made at the application's startup, on the event loop that will serve, and begins
    to follow the learner; it is stopped at the application's shutdown. The startup waits for
    weights and online store, at most `serve.max_start_wait_ms`, and calls `started` at last.
    """
    fast_handlers: Handlers = {} if fast is None else fast

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service = await factory()
        guard = RequestGuard(service.settings, service.status.running_replicas)
        service.start()
        await service.until_ready()
        await rehearse(service)
        specs, handlers = routes_of(service, guard)
        app.router.routes.extend(starlette_routes(handlers))
        for spec in specs:
            if spec.fast:
                fast_handlers[spec.method, spec.path] = handlers[spec.method, spec.path]
        following = asyncio.ensure_future(guard.follow())
        server = grpc_server(service, specs, handlers)
        if server is not None:
            await server.start()
        started()
        yield  # the server takes requests only after this
        if server is not None:
            await server.stop()
        following.cancel()
        fast_handlers.clear()
        await service.stop()

    app = Starlette(
        lifespan=lifespan,
        middleware=[Middleware(FastPath, handlers=fast_handlers)],
        exception_handlers={HTTPException: no_such_route, Exception: internal_error},
    )
    app.router.redirect_slashes = False  # of a path that is not there the caller is told
    return app


async def started(app: Starlette) -> Starlette:
    """Run the startup of `app` now, and leave only its shutdown to the server. Raises what it does.

    A server would log an exception of the startup, and end with another one, without its reason.
    """
    running = app.router.lifespan_context(app)
    await running.__aenter__()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await running.__aexit__(None, None, None)

    app.router.lifespan_context = lifespan
    return app


def routes_of(service: ScoringService, guard: RequestGuard) -> tuple[list[RouteSpec], Handlers]:
    """The routes of a service, and the handler of each."""

    def further(others: Sequence[RouteSpec]) -> list[RouteSpec]:
        return [ProtoRoute(service.pipeline.name, others).spec()]

    specs = RouteTable(service, further).specs()
    limits, most = service.pipeline.limits, service.settings.max_ongoing_requests
    return specs, RouteHandlers(limits, guard, service.load, most, service.metrics).of(specs)


def grpc_server(
    service: ScoringService, specs: Sequence[RouteSpec], handlers: Handlers
) -> GrpcServer | None:
    """The server of the same routes over gRPC; None where the settings have no port for it."""
    settings = service.settings
    if settings.grpc_port is None:
        return None
    most_bytes = service.pipeline.limits.body_bytes
    calls = RpcHandlers(RpcTable(specs), handlers)
    health = HealthCalls(service.readiness, service.connectors.clock)
    return GrpcServer(calls, health, settings, settings.grpc_port, most_bytes)
