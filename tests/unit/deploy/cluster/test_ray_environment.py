"""What is set for Ray before it is imported."""

from __future__ import annotations

import os
import stat
from importlib.util import find_spec
from pathlib import Path

import pytest

from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.cluster.ray_environment import prepare


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    empty: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", empty)
    monkeypatch.setattr(ray_environment, "free_port", lambda: 4711)
    return empty


def test_a_local_cluster_has_a_token_of_its_own_and_stays_on_loopback(
    environment: dict[str, str],
) -> None:
    prepare(None)
    first = dict(environment)
    environment.clear()
    prepare(None)
    assert first["RAY_AUTH_MODE"] == "token"
    assert len(first["RAY_AUTH_TOKEN"]) == 64
    assert first["RAY_AUTH_TOKEN"] != environment["RAY_AUTH_TOKEN"]
    assert first["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"


def test_haproxys_files_lie_where_no_other_user_looks(environment: dict[str, str]) -> None:
    prepare(None)
    socket = Path(environment["RAY_SERVE_HAPROXY_SOCKET_PATH"])
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    # Ray puts a folder in between that is named by the node's 56 digits, HAProxy a number behind.
    assert len(str(socket)) + 57 + len(".4194304.tmp") < 108
    starter = Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])
    assert starter.parent == socket.parent
    assert os.access(starter, os.X_OK)


def test_what_the_user_has_set_is_left(environment: dict[str, str]) -> None:
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_SERVE_HAPROXY_BINARY_PATH": "/opt/haproxy"}
    prepare(None)
    assert environment["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN" not in environment
    assert environment["RAY_SERVE_HAPROXY_BINARY_PATH"] == "/opt/haproxy"


def test_on_a_cluster_nothing_is_moved(environment: dict[str, str]) -> None:
    prepare("auto")
    assert not [name for name in environment if name.endswith(("_BINARY_PATH", "_TOKEN", "_PORT"))]


def test_ray_knows_every_variable_that_is_set(environment: dict[str, str]) -> None:
    prepare(None)
    spec = find_spec("ray")  # found, not imported
    assert spec is not None and spec.origin is not None
    serve = Path(spec.origin).parent / "serve"
    source = "".join(path.read_text() for path in serve.rglob("*.py"))
    of_serve = [name for name in environment if name.startswith("RAY_SERVE_")]
    assert [name for name in of_serve if f'"{name}"' not in source] == []
