"""The short way in for the requests that come most: past routers, to what answers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Handlers: TypeAlias = dict[tuple[str, str], Handler]
"""What answers a method and a path, for whatever goes wrong too."""

REPLICA_HANDLERS: Handlers = {}
"""Those of the replica that lives in this process (Serve gives each replica one of its own)."""


class Shortcut:
    """Answers what `handlers` knows, and passes everything else on.

    In a replica it stands before Serve, which counts, names, times and tags each request, and has
    a task watch for its client's leaving: as much work as scoring a hundred candidates. Serve goes
    on placing, watching and draining the replica; requests are bounded and counted by the
    application itself.
    """

    def __init__(self, app: ASGIApp, handlers: Handlers) -> None:
        self._app = app
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        handler = None
        if scope["type"] == "http":
            handler = self._handlers.get((scope["method"], scope["path"]))
        if handler is None:
            await self._app(scope, receive, send)
            return
        response = await handler(Request(scope, receive))
        await response(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve's HTTP server is to have (``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``)."""
    return [Middleware(Shortcut, handlers=REPLICA_HANDLERS)]
