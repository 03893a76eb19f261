"""Ray's internals are as they are used here; when an update of Ray changes them, this fails."""

from __future__ import annotations

import shutil
import sys
import types
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.serve.proxy import ray_internals
from freshrank.serve.proxy.ray_internals import (
    CHECKED_VERSION,
    INTERNALS,
    PRIVATE_FILES,
    PRIVATE_PORTS,
    bind_grpc_to_loopback,
    ingress_environment,
    private_environment,
    ray_changes,
)


def installed_ray() -> Path:
    spec = find_spec("ray")  # found, not imported
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def test_the_installed_ray_is_as_expected() -> None:
    changes = ray_changes(installed_ray())
    text = "\n".join(changes)
    assert not changes, f"Ray {version('ray')} is not like {CHECKED_VERSION}:\n{text}"


def test_the_installed_ray_is_the_version_that_was_checked() -> None:
    assert version("ray") == CHECKED_VERSION, (
        f"Ray was updated: read what has changed in the files that {ray_internals.__name__} names,"
        " run the integration tests of HAProxy and of the deployment, then set CHECKED_VERSION"
    )


@pytest.fixture
def other_ray(tmp_path: Path) -> Path:
    """A copy of the files of Ray that are looked at."""
    for source in {one.source for one in INTERNALS} | {"serve/_private/constants.py"}:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installed_ray() / source, tmp_path / source)
    return tmp_path


def replaced(package: Path, source: str, old: str, new: str) -> None:
    text = (package / source).read_text()
    assert old in text
    (package / source).write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("source", "old", "new", "named"),
    [
        (
            "serve/_private/replica.py", 'self._server, "[::]:0"', "self._server, self._address",
            ["the gRPC port of a replica: serve/_private/replica.py has no ", "See #64544."],
        ),
        (
            "serve/_private/haproxy_templates.py", "listen stats", "listen statistics",
            ["the configuration of HAProxy: ", "`haproxy_wrapper` moves two of its ports"],
        ),
        (
            "serve/_private/constants.py", "RAY_SERVE_HAPROXY_RETRY_ON", "RAY_SERVE_RETRY_ON",
            ["RAY_SERVE_HAPROXY_RETRY_ON: ", "a replica answers before it logs the impression"],
        ),
        (
            "serve/_private/constants.py", '"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "3600"',
            '"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "60"',
            ['has no \'"RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", "3600"\' any more'],
        ),
    ],
)  # fmt: skip
def test_a_change_of_ray_is_named_with_what_it_was_needed_for(
    other_ray: Path, source: str, old: str, new: str, named: list[str]
) -> None:
    assert ray_changes(other_ray) == []
    replaced(other_ray, source, old, new)
    (change,) = ray_changes(other_ray)
    for part in named:
        assert part in change


def test_a_file_of_ray_that_is_gone_is_a_change_of_all_that_is_expected_in_it(
    other_ray: Path,
) -> None:
    (other_ray / "serve/_private/haproxy.py").unlink()
    assert [one.partition(":")[0] for one in ray_changes(other_ray)] == ["the start of HAProxy"] * 2


def test_two_clusters_of_one_machine_share_no_file_and_no_port(tmp_path: Path) -> None:
    ports = iter(range(5_000, 6_000))
    first = private_environment(tmp_path / "a", lambda: next(ports))
    second = private_environment(tmp_path / "b", lambda: next(ports))
    assert set(first) == {one.name for one in (*PRIVATE_FILES, *PRIVATE_PORTS)}
    assert not set(first.values()) & set(second.values())
    assert not set(first) & set(ingress_environment())


Opened = list[tuple[object, str]]


@pytest.fixture
def replica_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """A stand-in for Ray's module, which opens ports by a function that it has imported."""
    names = ["ray", "ray.serve", "ray.serve._private", "ray.serve._private.replica"]
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
        above, _, last = name.rpartition(".")
        if above:
            setattr(modules[above], last, module)
    yield modules["ray.serve._private.replica"]


def open_port(module: types.ModuleType, address: str) -> str:
    opened: str = vars(module)["add_port_to_grpc_server"]("server", address)
    return opened


def test_the_grpc_port_of_a_replica_is_moved_to_a_loopback_node_only(
    replica_module: types.ModuleType,
) -> None:
    vars(replica_module)["add_port_to_grpc_server"] = lambda server, address: address
    bind_grpc_to_loopback("10.0.0.7")
    assert open_port(replica_module, "[::]:0") == "[::]:0"
    bind_grpc_to_loopback("127.0.0.1")
    assert open_port(replica_module, "[::]:0") == "127.0.0.1:0"


def test_another_ray_is_refused_before_a_port_is_open(replica_module: types.ModuleType) -> None:
    with pytest.raises(ConfigError, match=r"ray: `add_port_to_grpc_server` is not there.*Install"):
        bind_grpc_to_loopback("127.0.0.1")
    vars(replica_module)["add_port_to_grpc_server"] = lambda server, address: address
    bind_grpc_to_loopback("127.0.0.1")
    with pytest.raises(ConfigError, match=r"gRPC port is opened on 0\.0\.0\.0:0"):
        open_port(replica_module, "0.0.0.0:0")
