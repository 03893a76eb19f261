"""The fast path: an ASGI middleware that calls a handler without any router or Serve between."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Handlers: TypeAlias = dict[tuple[str, str], Handler]
"""The handler of each method and path. It answers errors too, and never raises."""

REPLICA_HANDLERS: Handlers = {}
"""The fast handlers of the replica in this process; Serve runs each replica in its own process."""


class FastPath:
    """Answers the requests that `handlers` holds a method and path for, and passes on all others.

    In a replica it comes before Serve's own handling of a request (names, counts, tags, timing, and
    a task that watches for the client to disconnect), which takes as long as scoring a hundred
    candidates. Serve still places, watches and drains the replica; the application itself bounds
    and counts requests.
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
