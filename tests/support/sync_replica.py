"""A replica under test for synchronous clients of httpx: its event loop runs during requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from serving import ReplicaUnderTest


class _Transport(httpx.BaseTransport):
    def __init__(self, runner: asyncio.Runner, http: httpx.AsyncClient) -> None:
        self._runner = runner
        self._http = http

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        content, headers = request.read(), request.headers

        async def ask() -> httpx.Response:
            return await self._http.request(
                request.method, request.url, content=content, headers=headers
            )

        answer = self._runner.run(ask())
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@contextmanager
def sync_transport(replica: ReplicaUnderTest) -> Iterator[httpx.BaseTransport]:
    """What a synchronous client sends its requests by; the replica stops at the end."""
    with asyncio.Runner() as runner:
        client = replica.client()
        http = runner.run(client.__aenter__())
        yield _Transport(runner, http)
        runner.run(client.__aexit__(None, None, None))
