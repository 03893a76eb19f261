"""A real HAProxy with the settings of Freshrank gives requests of a killed replica to another."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from haproxy import haproxy_starter
from whole_system import PATIENCE_S, until

from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import listens
from freshrank.serve.proxy.ray_internals import ingress_environment

CLIENTS = 8

# A replica that answers until a file exists, and from then on takes requests without an answer.
REPLICA = """
import socket, sys, threading, time
from pathlib import Path
silent, answer = Path(sys.argv[2]), b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"

def serve(connection):
    while got := connection.recv(65536):
        while not got.endswith(b"{}"):
            got += connection.recv(65536)
        if silent.exists():
            Path(f"{silent}-{threading.get_ident()}").touch()
            time.sleep(600)
        connection.sendall(answer)

with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listening:
    while True:
        threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""

CONFIGURATION = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    option redispatch 1
    retry-on {retry_on}
    retries {retries}
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend replicas
backend replicas
    balance leastconn
    http-reuse always
    server mortal 127.0.0.1:{mortal}
    server steady 127.0.0.1:{steady}
backend default_backend
    http-request return status 404
listen stats
    bind *:{stats}
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("apart", [False, True], ids=["whole", "head and body apart"])
def test_unanswered_requests_of_a_killed_replica_are_answered_by_another(
    tmp_path: Path, apart: bool
) -> None:
    ports = {one: free_port() for one in ("metrics", "stats", "port", "mortal", "steady")}
    settings, file, silent = ingress_environment(), tmp_path / "haproxy.cfg", tmp_path / "silent"
    retrying = {
        "retry_on": settings["RAY_SERVE_HAPROXY_RETRY_ON"],
        "retries": settings["RAY_SERVE_HAPROXY_RETRIES"],
    }
    file.write_text(CONFIGURATION.format(**ports, **retrying), encoding="utf-8")
    starter = haproxy_starter(tmp_path)
    replica = (sys.executable, "-c", REPLICA)
    with (
        running(*replica, str(ports["mortal"]), str(silent)) as mortal,
        running(*replica, str(ports["steady"]), str(tmp_path / "never")),
        contextlib.ExitStack() as stack,
    ):
        until(partial(listens, "127.0.0.1", ports["mortal"]), PATIENCE_S)
        until(partial(listens, "127.0.0.1", ports["steady"]), PATIENCE_S)
        stack.enter_context(running(starter, "-db", "-f", str(file)))
        until(partial(listens, "127.0.0.1", ports["port"]), PATIENCE_S)
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", ports["port"]), PATIENCE_S))
            for _ in range(CLIENTS)
        ]
        for client in clients:
            ask(client, apart)
            assert client.recv(1_000).startswith(b"HTTP/1.1 200 ")
        silent.touch()
        for client in clients:
            ask(client, apart)
        until(lambda: list(tmp_path.glob("silent-*")), PATIENCE_S)
        mortal.kill()
        answers = [client.recv(1_000)[:12] for client in clients]
    assert answers == [b"HTTP/1.1 200"] * CLIENTS


def ask(client: socket.socket, apart: bool) -> None:
    head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
    if apart:
        client.sendall(head)
        time.sleep(0.02)  # HAProxy receives the head alone
        client.sendall(b"{}")
    else:
        client.sendall(head + b"{}")
