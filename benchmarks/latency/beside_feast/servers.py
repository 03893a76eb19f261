"""Starts Feast's server and the model beside it, each in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from rich.console import Console

from freshrank.benchmarks.latency.beside_feast import host
from freshrank.benchmarks.peers import environments, feature_server, peer_features
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port

# Seconds for Feast to write the features and fork its workers, or for a cold Ray with Serve.
_START_TIMEOUT_S = 180.0
# Seconds from SIGTERM to SIGKILL, with Serve's own drain in it.
_STOP_TIMEOUT_S = 20.0
# Seconds for an answer while a server starts: its first one is slow.
_ANSWER_TIMEOUT_S = 10.0


def installed(console: Console) -> bool:
    """Whether Feast has its environment, which is made where there is none."""
    try:
        environments.python_of(peer_features.ENVIRONMENT, peer_features.REQUIREMENTS)
    except (OSError, subprocess.CalledProcessError) as error:
        console.print(f"Feast is left out: {error}")
        return False
    return True


@contextlib.contextmanager
def beside_feast(folder: Path, features: Path, redis_url: str, body: bytes) -> Iterator[int]:
    """Serve within the block; gives the port. It is ready once it has answered `body`.

    `features` is the folder that `save_features` has written to. Raises Unavailable.
    """
    feast_port, port = free_port(), free_port()
    script, module = str(Path(feature_server.__file__)), host.__name__
    with (
        _running(
            "Feast's server",
            [sys.executable, script, str(features), str(feast_port), redis_url],
            folder / "feast.log",
        ) as feast,
        _running(
            "the model beside Feast",
            [sys.executable, "-m", module, str(feast_port), str(port)],
            folder / "server.log",
        ) as server,
    ):
        feast.wait_until(lambda: answers(feast_port, "GET", "/health"), _START_TIMEOUT_S)
        server.wait_until(lambda: answers(port, "POST", "/v1/score", body), _START_TIMEOUT_S)
        yield port


@contextlib.contextmanager
def _running(name: str, command: list[str], log: Path) -> Iterator[Child]:
    child = Child(name, command, log)
    try:
        yield child
    finally:
        child.stop(grace_s=_STOP_TIMEOUT_S)


def answers(port: int, method: str, path: str, body: bytes | None = None) -> bool:
    """Whether a server on a port of this machine answers a request with status 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWER_TIMEOUT_S)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
