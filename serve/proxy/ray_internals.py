"""All that depends on how Ray Serve works inside: settings, patches, and why each is needed.

`ray_changes` compares an installed Ray with what is expected here, and a test fails on any
difference, and on another version than `CHECKED_VERSION`: then read what has changed, adapt or drop
the entries, and look at `haproxy_wrapper` too, which rewrites the configuration of HAProxy.

Ray reads its environment when it is imported, and this module gives that environment: so it imports
Ray only inside the functions that run in a replica.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.middleware import Middleware

from freshrank.actors.errors import ConfigError
from freshrank.serve.http.fast_path import REPLICA_HANDLERS, FastPath

CHECKED_VERSION = "2.60.0"
"""The version of Ray that all of this was last compared with, by reading its changes."""

_CONSTANTS = "serve/_private/constants.py"


@dataclass(frozen=True, slots=True)
class Setting:
    """An environment variable of Ray Serve. Needed on every node before Ray starts there."""

    name: str
    default: str
    """As Ray's source writes it behind the name."""
    value: str
    """What it is set to; for `PRIVATE_FILES` the name of a file, for `PRIVATE_PORTS` empty."""
    reason: str


@dataclass(frozen=True, slots=True)
class Internal:
    """A part of Ray's source that this package relies on, with no public interface in its place."""

    name: str
    reason: str
    upstream: str
    """The issue or pull request of ray-project/ray that has the background."""
    source: str
    """The file, below Ray's package."""
    text: tuple[str, ...]
    """What it has to contain; the amount of white space does not matter."""


INGRESS = (
    Setting(
        "RAY_SERVE_ENABLE_HA_PROXY", '"0"', "1",
        "Requests go through HAProxy straight to the replicas: twenty times the throughput of "
        "Serve's own proxy, which is one Python process (#42565, #60586).",
    ),
    Setting(
        "RAY_SERVE_THROUGHPUT_OPTIMIZED", '"0"', "1",
        "User code and request handling share one event loop.",
    ),
    Setting(
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE", "1000", "1",
        "The mode above buffers a thousand log lines and flushes them on the event loop, which "
        "blocks it for 10 ms (#54269).",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_NBTHREAD", '"4"', "1",
        "One thread of HAProxy passes on more requests than the replicas of one machine answer.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_METRICS_ENABLED", '"1"', "0",
        "HAProxy would write a line about each request to a Python process, which costs a quarter "
        "of the request itself (#64329); the replicas count their requests.",
    ),
    Setting(
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "None",
        f"{__name__}.http_middlewares",
        "Puts the fast path before Serve's own handling of each request: see `fast_path`.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_RETRY_ON", '"conn-failure"', "conn-failure empty-response",
        "By default HAProxy gives only a request that it has not sent yet to another replica "
        "(#63159). A request without a byte of an answer may be sent again, too: a replica answers "
        "before it logs the impression, and an event that is written twice is deduplicated.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_RETRIES", "None", "20",
        "Each idle connection to a replica that has just died costs one try; HAProxy has 3.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S", "", "30",
        "Not set by default: a request whose replica hangs would hang for ever. In seconds.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S", '"3600"', "30",
        "Seconds for which a silent client keeps one of 4,096 connections. A replica receives a "
        "request only when its headers are complete.",
    ),
    Setting(
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", '"30"', "0.5",
        "Requests take milliseconds, and a stop has to be over within 10 s.",
    ),
    Setting(
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "5.0", "30",
        "After three timeouts Serve kills an ingress that is still starting, which takes longer "
        "than 5 s while all parts start on two cores.",
    ),
    Setting(
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "10.0", "1",
        "A dead HAProxy is replaced after three failed checks; no request is answered meanwhile.",
    ),
)  # fmt: skip

_SHARED = "Ray's default is one folder for all users of the machine."
PRIVATE_FILES = (
    Setting(
        "RAY_SERVE_HAPROXY_BINARY_PATH", '""', "haproxy",
        "A program that starts `haproxy_wrapper`, which adapts the configuration.",
    ),
    Setting(
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC", '"/tmp/haproxy-serve/haproxy.cfg"', "haproxy.cfg",
        _SHARED,
    ),
    Setting(
        "RAY_SERVE_HAPROXY_SOCKET_PATH", '"/tmp/haproxy-serve/admin.sock"', "admin.sock",
        f"Any process that opens this socket commands HAProxy. {_SHARED}",
    ),
    Setting("RAY_SERVE_HAPROXY_SERVER_STATE_BASE", '"/tmp/haproxy-serve"', "", _SHARED),
    Setting(
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE", '"/tmp/haproxy-serve/server-state"',
        "server-state", _SHARED,
    ),
    Setting(
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH", '"/tmp/haproxy-serve/metrics.sock"',
        "metrics.sock", _SHARED,
    ),
    Setting(
        "RAY_SERVE_HAPROXY_LOG_TARGET", '"127.0.0.1:514"', "unread.sock",
        "No process reads HAProxy's log of requests; for UDP, the default, HAProxy would bind a "
        "socket to every address.",
    ),
)  # fmt: skip

_FIXED = "A fixed default: two clusters on one machine would end each other's ingress (#62976)."
PRIVATE_PORTS = (
    Setting("RAY_SERVE_HAPROXY_STATS_PORT", "8404", "", _FIXED),
    Setting("RAY_SERVE_HAPROXY_METRICS_PORT", '"9101"', "", _FIXED),
    Setting("RAY_SERVE_FALLBACK_PROXY_HTTP_PORT", "8500", "", _FIXED),
    Setting("RAY_SERVE_FALLBACK_PROXY_GRPC_PORT", "9500", "", _FIXED),
)

INTERNALS = (
    Internal(
        "the gRPC port of a replica",
        "It is bound to every address, and no setting moves it: `bind_grpc_to_loopback` does.",
        "#64544",
        "serve/_private/replica.py",
        (
            "from ray._common.tls_utils import add_port_to_grpc_server",
            'add_port_to_grpc_server(self._server, "[::]:0")',
        ),
    ),
    Internal(
        "the middlewares of a replica's HTTP server",
        "They come from the callback of the proxy, which is documented for the proxy only.",
        "#55473",
        "serve/_private/replica.py",
        ("options = configure_http_middlewares(", "start_asgi_http_server("),
    ),
    Internal(
        "an ASGI application made in the replica",
        "`ScoringReplica` defines this method. That it is awaited is not documented.",
        "the docstring of `serve.ingress`",
        "serve/_private/replica.py",
        ('SERVE_BUILD_ASGI_APP_METHOD = "__serve_build_asgi_app__"', "result = await result"),
    ),
    Internal(
        "the configuration of HAProxy",
        "`haproxy_wrapper` moves two of its ports to loopback, and answers 503 in place of 404.",
        "#62976, #64582",
        "serve/_private/haproxy_templates.py",
        (
            "frontend prometheus bind :{{ config.metrics_port }}",
            "frontend http_frontend bind {{ config.frontend_host }}:{{ config.frontend_port }}",
            "listen stats bind *:{{ config.stats_port }}",
            "backend default_backend http-request return status 404 content-type text/plain",
        ),
    ),
    Internal(
        "the start of HAProxy",
        "`haproxy_wrapper` stands in for the program: it finds the configuration behind -f, and "
        "ties HAProxy to its parent, which Ray does not.",
        "#64063",
        "serve/_private/haproxy.py",
        (
            'args = [haproxy_bin, "-db", "-f", self.config_file_path]',
            "proc = await asyncio.create_subprocess_exec( *args,",
        ),
    ),
    Internal(
        "a cluster on loopback",
        "The variable is meant for other systems; 0 makes all of Ray listen on loopback only.",
        "#55484",
        "_private/ray_constants.py",
        (
            'ENABLE_RAY_CLUSTERS_ENV_VAR = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"',
            "ENABLE_RAY_CLUSTER = env_bool( ENABLE_RAY_CLUSTERS_ENV_VAR,",
        ),
    ),
)


def ingress_environment() -> dict[str, str]:
    """The variables that put Serve into its fast mode."""
    return {one.name: one.value for one in INGRESS}


def private_environment(folder: Path, free_port: Callable[[], int]) -> dict[str, str]:
    """The variables of an ingress that shares no file below `folder` and no port with another."""
    files = {one.name: str(folder / one.value) for one in PRIVATE_FILES}
    return files | {one.name: str(free_port()) for one in PRIVATE_PORTS}


def http_middlewares() -> list[Middleware]:
    """The middlewares of each replica's HTTP server: the fast path."""
    return [Middleware(FastPath, handlers=REPLICA_HANDLERS)]


def bind_grpc_to_loopback(node_ip: str) -> None:
    """Where the cluster is this machine alone, bind this replica's gRPC port to loopback.

    The port takes calls from other deployments: they carry the cluster's token, and are unpickled.
    Called in the replica's process before Serve opens the port.

    Raises ConfigError when Ray opens the port in another way than is known here.
    """
    if not ipaddress.ip_address(node_ip).is_loopback:
        return
    # Not before Ray has its environment: see the module's docstring.
    from ray.serve._private import replica  # noqa: PLC0415

    _replace_grpc_address(vars(replica), node_ip)


def _replace_grpc_address(names: dict[str, object], node_ip: str) -> None:
    """Wrap the function of Ray's module that opens the port; `names` are those of the module."""
    add_port = names.get("add_port_to_grpc_server")
    if not callable(add_port):
        raise _other_ray("`add_port_to_grpc_server` is not there")

    def add_port_on_loopback(server: object, address: str) -> object:
        if not address.startswith("[::]:"):
            raise _other_ray(f"a replica's gRPC port is opened on {address}")
        return add_port(server, address.replace("[::]", node_ip))

    names["add_port_to_grpc_server"] = add_port_on_loopback


def _other_ray(problem: str) -> ConfigError:
    fix = f"Install the version that pyproject.toml names, or adapt {Path(__file__).name}."
    return ConfigError("ray", f"{problem}: it is not like version {CHECKED_VERSION}", fix)


def ray_changes(package: Path) -> list[str]:
    """How the Ray whose package lies at `package` differs from what this module expects.

    Each entry names what is missing, in which file of Ray, and what it was needed for.
    """
    expected = [
        (one.name, one.reason, _CONSTANTS, _in_source(one))
        for one in (*INGRESS, *PRIVATE_FILES, *PRIVATE_PORTS)
    ] + [
        (one.name, f"{one.reason} See {one.upstream}.", one.source, text)
        for one in INTERNALS
        for text in one.text
    ]
    sources = {source: _one_line(package / source) for _, _, source, _ in expected}
    return [
        f"{name}: {source} has no {text!r} any more. Needed because: {reason}"
        for name, reason, source, text in expected
        if _without_space(text) not in sources[source]
    ]


def _in_source(setting: Setting) -> str:
    return f'"{setting.name}", {setting.default}' if setting.default else f'"{setting.name}"'


def _one_line(path: Path) -> str:
    return _without_space(path.read_text(encoding="utf-8")) if path.exists() else ""


def _without_space(text: str) -> str:
    return re.sub(r"\s+", "", text)
