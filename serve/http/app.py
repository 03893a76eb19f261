"""HTTP around a `ScoringService`: routes, bounds, and errors as answers. No Ray here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from freshrank.serve.api.errors import problem
from freshrank.serve.http.fast_path import Handlers, Shortcut
from freshrank.serve.http.routes import _HOT, Routes, _json, _our_fault
from freshrank.serve.scoring.service import ScoringService

ServiceFactory: TypeAlias = Callable[[], Awaitable[ScoringService]]
"""Makes a replica's service, in the replica's process. It may travel there pickled."""


def build_app(factory: ServiceFactory, shortcuts: Handlers | None = None) -> Starlette:
    """The ASGI application of one replica; `shortcuts` takes what may be answered without it.

    Its service is made, and begins to follow the learner, when the application starts up, on the
    event loop that will serve; it stops with the application. A start waits, for a while, until
    weights and store are there.
    """
    handlers: Handlers = {} if shortcuts is None else shortcuts

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service = await factory()
        service.start()
        await service.until_ready()  # whoever runs the application sends requests after that
        routes = Routes(service).table()
        app.router.routes.extend(routes)
        handlers["POST", _HOT] = next(one.endpoint for one in routes if one.path == _HOT)
        yield
        del handlers["POST", _HOT]
        await service.stop()

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(Shortcut, handlers=handlers)],
        exception_handlers={HTTPException: _no_route, Exception: _our_fault},
    )


async def _no_route(request: Request, error: Exception) -> Response:
    """No such path, or not by this method."""
    assert isinstance(error, HTTPException)
    field = "method" if error.status_code == 405 else "path"
    response = _json(problem(field, error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response
