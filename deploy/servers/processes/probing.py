"""Whether a server answers, and what."""

from __future__ import annotations

import socket
from pathlib import Path


def listens(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a server accepts connections there."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def ask(host: str, port: int, request: bytes, timeout_s: float = 1.0) -> bytes:
    """Send `request` and return the first bytes of the response; b"" when there is none."""
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            return _response(connection, request)
    except OSError:
        return b""


def ask_socket(path: Path, request: bytes, timeout_s: float = 1.0) -> bytes:
    """Do the same as `ask` with the server of a Unix socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            return _response(connection, request)
    except OSError:
        return b""


def _response(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    return connection.recv(4096)
