"""Clients that send too much, too slowly or without end are refused, and do not delay others."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import uvicorn
from serving import ReplicaUnderTest

from freshrank.serve.app import build_app
from freshrank.serve.http import request_body
from freshrank.serve.scoring.service import ScoringService

# Seconds that a body may take in these tests, to keep them short.
BODY_DEADLINE_S = 0.5
# More clients than the requests that a replica answers at the same time.
SLOW_CLIENTS = 40
MAX_ONGOING = 20

BODY = {"user": "u", "candidates": [{"item_id": 1, "note": "n", "price": 1.0}]}


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of the application in uvicorn, the server of Serve's replicas."""
    monkeypatch.setattr(request_body, "BODY_DEADLINE_S", BODY_DEADLINE_S)
    replica = ReplicaUnderTest(max_ongoing_requests=MAX_ONGOING)

    async def made() -> ScoringService:
        return replica.service

    listening = socket.create_server(("127.0.0.1", 0), backlog=2 * SLOW_CLIENTS)
    server = uvicorn.Server(uvicorn.Config(build_app(made), log_level="error", access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join()
    listening.close()


def ask(port: int, data: bytes, more: bytes = b"", times: int = 0) -> bytes:
    """Send `data`, then `more` up to `times` until it is refused; returns the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(data)
            for _ in range(times):
                connection.sendall(more)
        except OSError:
            pass  # the server has closed it, after its answer
        return connection.recv(65_536)


HEAD = (
    b"POST /v1/score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\n"
)


def test_a_body_without_end_is_refused_at_the_bound(port: int) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    answer = ask(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk, times=10_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_announced_too_large_is_refused(port: int) -> None:
    answer = ask(port, HEAD + b"Content-Length: 100000000\r\n\r\n", b" " * 65_536, times=2_000)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_that_never_comes_is_refused_in_time(port: int) -> None:
    assert ask(port, HEAD + b"Content-Length: 100\r\n\r\n{").startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("size", [20_000, 200_000])
def test_headers_that_are_too_large_are_refused(port: int, size: int) -> None:
    answer = ask(port, HEAD + b"X-Much: " + b"x" * size + b"\r\nContent-Length: 0\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


def test_broken_http_is_refused(port: int) -> None:
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        HEAD + b"Content-Length: x\r\n\r\n",
    ):
        assert ask(port, data + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_slow_clients_count_as_ongoing_for_no_longer_than_the_deadline(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(SLOW_CLIENTS)]
    for connection in slow:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            assert client.get("/healthz").status_code == 200  # never refused
            for connection in slow:
                answer = connection.recv(65_536)
                assert answer.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 "))
            assert client.post("/v1/score", json=BODY).status_code == 200
    finally:
        for connection in slow:
            connection.close()


def test_clients_that_do_not_finish_their_headers_do_not_delay_others(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(SLOW_CLIENTS)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/score HTTP/1.1\r\nX-Slow: ")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            assert client.post("/v1/score", json=BODY).status_code == 200
    finally:
        for connection in slow:
            connection.close()
