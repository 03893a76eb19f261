"""An HTTP/1.1 client for generated load: one kept-alive connection, JSON in and out.

A full client library takes more CPU time than the server that is measured with it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Self

# Bytes of a response's head: more than any of our servers writes.
HEAD_LIMIT = 65_536

# Seconds for the end of a connection over TLS.
_LEAVE_S = 1.0


class KeepAliveClient:
    """One connection to one server, opened at the first request and again after a failure.

    It sends one request at a time; for concurrent requests use several clients. `key` is an API
    key, sent with each request. `tls` makes the context of each connection; None: it is plain.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float = 5.0,
        *,
        key: str | None = None,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._tls = tls
        name = f"[{host}]" if ":" in host else host
        self._headers = f"Host: {name}:{port}\r\n"
        if key is not None:
            self._headers += f"Authorization: Bearer {key}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Send `body` as JSON; returns (status, body of the response).

        Raises OSError (TimeoutError among them) when no complete response came.
        """
        head = (
            f"POST {path} HTTP/1.1\r\n{self._headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self._exchange(head.encode("ascii") + body)

    async def get(self, path: str) -> tuple[int, bytes]:
        """Fetch `path`; returns and raises as `post` does."""
        return await self._exchange(f"GET {path} HTTP/1.1\r\n{self._headers}\r\n".encode("ascii"))

    async def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._streams is None:
            return
        writer, self._streams = self._streams[1], None
        writer.close()
        if self._tls is not None:  # TLS takes leave of the server, for which the loop has to go on
            with suppress(OSError):
                async with asyncio.timeout(_LEAVE_S):
                    await writer.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                # A server may close an idle connection at any time.
                if self._streams is None or self._streams[0].at_eof():
                    await self.close()
                    context = None if self._tls is None else self._tls()
                    self._streams = await asyncio.open_connection(
                        self._host, self._port, limit=HEAD_LIMIT, ssl=context
                    )
                reader, writer = self._streams
                writer.write(request)
                status, body, kept = await read_response(reader)
        except (OSError, asyncio.CancelledError):
            # A response that is still to come would be taken for that of the next request.
            await self.close()
            raise
        if not kept:
            await self.close()
        return status, body


async def read_response(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Read one response: its status, its body, and whether the connection stays open.

    Raises ConnectionError when the stream ends before its end, or it is not HTTP/1.1.
    """
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        first, *lines = head.split(b"\r\n")
        fields = dict(line.split(b":", 1) for line in lines if b":" in line)
        status = int(first.split(b" ", 2)[1])
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            body = await _read_chunks(reader)
        else:
            body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise ConnectionError(f"the response ended early: {error}") from error
    except (ValueError, IndexError) as error:
        raise ConnectionError(f"not an HTTP response: {error}") from error
    return status, body, b"close" not in fields.get(b"connection", b"")


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readuntil(b"\r\n")
    return b"".join(parts)
