"""What is set for Ray before it is imported."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.cluster import ray_environment
from freshrank.deploy.cluster.ray_environment import logs, prepare
from freshrank.serve.access.certificate import Certificate


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


def test_rays_session_lies_where_no_other_user_looks(environment: dict[str, str]) -> None:
    prepare(None)
    folder = Path(environment["RAY_TMPDIR"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.geteuid()
    assert folder.parent.stat().st_mode & stat.S_ISVTX  # nobody else can rename the folder
    session = "session_2026-11-27_22-10-22_123456_4194304"
    assert len(str(folder / "ray" / session / "sockets" / "plasma_store")) <= 107
    assert logs() == folder / "ray" / "session_latest" / "logs"


def test_a_certificate_is_refused_where_others_start_haproxy(
    environment: dict[str, str], tmp_path: Path
) -> None:
    certificate = Certificate(b"pem", 0)
    with pytest.raises(ConfigError, match="that of the cluster's nodes"):
        prepare("node:6379", certificate)
    environment["RAY_SERVE_HAPROXY_BINARY_PATH"] = str(tmp_path / "haproxy")
    with pytest.raises(ConfigError, match="that of RAY_SERVE_HAPROXY_BINARY_PATH"):
        prepare(None, certificate)


def test_haproxy_is_started_with_the_certificate(environment: dict[str, str]) -> None:
    prepare(None, Certificate(b"pem", 0))
    starter = Path(environment["RAY_SERVE_HAPROXY_BINARY_PATH"])
    file = starter.parent / "endpoint.pem"
    assert f"haproxy_wrapper.py --certificate {file} " in starter.read_text()
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"pem", 0o600)


@pytest.mark.parametrize("kept", [False, True])
def test_rays_logs_are_removed_at_the_end_unless_they_are_to_be_read(
    tmp_path: Path, kept: bool
) -> None:
    script = (
        "from freshrank.deploy.cluster import ray_environment as ray\n"
        "ray.prepare(None)\n"
        "ray.logs().mkdir(parents=True)\n"
        "print(ray.logs())\n"
        f"{'ray.keep_logs()' if kept else ''}"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
    )  # fmt: skip
    folder = Path(done.stdout.strip())
    assert folder.exists() is kept
    shutil.rmtree(folder.parents[2], ignore_errors=True)


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
