"""The answers of a real HAProxy, configured as by Ray, while there is no replica."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from haproxy import haproxy_starter
from whole_system import until

from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import listens

# Ray's sections. Paths below /app belong to an application, other paths to none.
CONFIGURATION = """\
defaults
    mode http
    timeout connect 5s
    timeout client 30s
    timeout server 5s
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind 127.0.0.1:{port}
    use_backend app if {{ path_beg /app }}
    default_backend default_backend
backend default_backend
    http-request return status 404 content-type text/plain string "not found"
backend app
    server replica 127.0.0.1:{replica}
listen stats
    bind *:{stats}
"""


class NotFound(BaseHTTPRequestHandler):
    """Answers 404, in JSON as a replica does, or in text as Serve's own proxy does."""

    def do_GET(self) -> None:
        kind = "text/plain; charset=utf-8" if "text" in self.path else "application/json"
        self.send_response(404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    """The address of a HAProxy in front of a server that answers 404."""
    server = HTTPServer(("127.0.0.1", 0), NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ports = {one: free_port() for one in ("metrics", "stats", "port")}
    file = tmp_path / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(**ports, replica=server.server_port), encoding="utf-8")
    starter = haproxy_starter(tmp_path)
    process = subprocess.Popen([starter, "-db", "-f", str(file)])
    until(partial(listens, "127.0.0.1", ports["port"]))
    yield f"http://127.0.0.1:{ports['port']}"
    process.kill()
    process.wait()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/v1/score", "/app/text"])
def test_without_a_replica_the_answer_is_a_503_with_retry_after(endpoint: str, path: str) -> None:
    answer = httpx.get(f"{endpoint}{path}")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"]["field"] == "server"


def test_a_404_of_a_replica_stays_a_404(endpoint: str) -> None:
    assert httpx.get(f"{endpoint}/app/json").status_code == 404
