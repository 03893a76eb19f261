"""What stands between Serve's HTTP server and the application, in each replica."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

# A header that Serve reads (a boolean of RFC 8941).
_TO_THE_END = (b"x-request-disconnect-disabled", b"?1")


class ToTheEnd:
    """Has Serve answer each request to its end, whether or not its client stays.

    Watching for a client that leaves takes a task and a queue for each request, as much work as
    scoring ten candidates; a score that nobody reads is done within a millisecond.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so to Serve, and go on."""
        if scope["type"] == "http":
            scope["headers"].append(_TO_THE_END)
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve calls to learn of them (``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH``)."""
    return [Middleware(ToTheEnd)]
