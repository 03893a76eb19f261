"""TCP ports on which servers are to listen."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from pathlib import Path

from freshrank.actors.errors import ConfigError, Unavailable

# The first and the last port that the kernel gives to a client that asks for none.
_CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Ray's workers listen below.
_LOWEST_PORT = 20_000
_PORT_TRIES = 100

_PORT_FIXES = {
    "serve.port": "Choose another: --port, FRESHRANK_SERVE__PORT (and FRESHRANK_SERVE__HOST), or "
    "`port` (and `host`) below [serve] in the settings' file.",
    "serve.grpc_port": "Choose another (FRESHRANK_SERVE__GRPC_PORT); 0 takes a free one.",
    "kafka.port": "Choose another: --kafka-port, FRESHRANK_KAFKA__PORT, or `port` below [kafka] in "
    "the settings' file; 0 takes a free one.",
}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens at this moment.

    It is below those that the kernel gives to clients: one of these could be taken before a server
    listens, and a port in use as a client's refuses to be listened on.
    """
    try:
        text = _CLIENT_PORTS.read_text(encoding="ascii")
        ports = range(_LOWEST_PORT, int(text.split()[0]))
    except (OSError, ValueError):  # no Linux: any port
        ports = range(0)
    for port in (*random.sample(ports, min(len(ports), _PORT_TRIES)), 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found: int = probe.getsockname()[1]
            return found
    raise Unavailable("ports", "the kernel has no free TCP port on 127.0.0.1")


def check_port(host: str, port: int, setting: str = "serve.port") -> None:
    """Raise ConfigError unless this process could listen on `port` of `host`, that of `setting`."""
    place = f"{setting} {port} of {host}"
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        fix = _PORT_FIXES[setting]
        problem = "another program listens there already"
        if error.errno != errno.EADDRINUSE:
            problem = f"listening there is not possible: {error.strerror}"
        raise ConfigError(place, problem, fix) from error
