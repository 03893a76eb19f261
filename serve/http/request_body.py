"""Reading the body of a request: bounded in bytes and in seconds."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from freshrank.actors.errors import RequestError

# Seconds for a whole body: a slower client would keep a place that other requests wait for.
BODY_DEADLINE_S = 5.0


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The whole body.

    Raises RequestError: 413 beyond `max_bytes`, 408 after `BODY_DEADLINE_S`, 400 when the client
    closed its connection.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    reason = "the client closed the connection"
                    raise RequestError("body", reason, status=400)
                part, more = message.get("body", b""), message.get("more_body", False)
                size += len(part)
                if size > max_bytes:
                    raise RequestError("body", f"more than {max_bytes} bytes", status=413)
                parts.append(part)
    except TimeoutError as error:
        reason = f"not complete after {BODY_DEADLINE_S} s"
        raise RequestError("body", reason, status=408) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
