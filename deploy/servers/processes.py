"""Servers as child processes: started, awaited, stopped, and killed when this process ends."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psutil

from freshrank.actors.errors import ConfigError, Unavailable
from freshrank.actors.snapshots.private_files import open_private

# Runs in the child before the server: asks the kernel to send it SIGKILL when its parent ends
# (PR_SET_PDEATHSIG = 1), then becomes the server. It is a program of its own, because code between
# fork and exec of a process with threads may deadlock. SIGKILL: no parent is left to wait for it.
_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent ended before its child began")
os.execvp(sys.argv[2], sys.argv[2:])
"""

# For the kernel the parent of a child is the *thread* that made it: one thread, which lives as long
# as this process, makes all children.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="freshrank-spawner")

# Set within `children_apart`.
_APART = threading.Event()

# The first and the last port that the kernel gives to a client that asks for none.
_CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Ray's workers listen below.
_LOWEST_PORT = 20_000
_PORT_TRIES = 100

# Seconds between two checks of a server that is starting; the fastest starts in 0.1 s.
_CHECK_EVERY_S = 0.02

# Seconds that a server may take to end after SIGTERM; the whole system has ten.
_GRACE_S = 5.0

# The last lines of its log that the message quotes when a server does not start.
_TAIL_LINES = 15

_PORT_FIXES = {
    "serve.port": "Choose another: --port, FRESHRANK_SERVE__PORT (and FRESHRANK_SERVE__HOST), or "
    "`port` (and `host`) below [serve] in the settings' file.",
    "serve.grpc_port": "Choose another (FRESHRANK_SERVE__GRPC_PORT); 0 takes a free one.",
    "kafka.port": "Choose another: --kafka-port, FRESHRANK_KAFKA__PORT, or `port` below [kafka] in "
    "the settings' file; 0 takes a free one.",
}


class Server:
    """A server that is started here, as a context manager; subclasses know how."""

    def start(self) -> None:
        """Start it and wait until it answers. Raises Unavailable, or ConfigError with the fix."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it and wait until it has ended; safe to call twice, or before `start`."""
        raise NotImplementedError

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs, and for a server that others run."""
        return None

    def start_again(self) -> None:
        """Start it once more at the same address, after it has ended by itself.

        Raises Unavailable when that fails, DependencyLost when no start can help.
        """
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def tethered(command: Sequence[str]) -> list[str]:
    """The command for a child that the kernel kills when the thread that starts it ends."""
    return [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), *command]


class Child:
    """A child process that writes to a log file, and that the kernel kills when this process ends.

    It leads a session of its own: Ctrl-C in a terminal reaches this process alone, which decides
    the order in which the servers stop.

    Parameters
    ----------
    part
        Its name in errors: ``"kafka"``.
    command
        Program and arguments.
    log
        Its output is appended to this file.
    environment
        Variables that are added to the environment of this process.
    """

    def __init__(
        self,
        part: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._part = part
        self._log = log
        with os.fdopen(open_private(log, os.O_WRONLY | os.O_APPEND), "ab") as output:
            self._began = output.tell()
            self._process = _SPAWNER.submit(
                subprocess.Popen,
                tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def ended(self) -> str | None:
        """How it ended; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        if status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"ended with status {status}"

    def listens_at(self, port: int) -> bool:
        """Whether it is this server, and not another program, that listens at a TCP port."""
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            for held in psutil.Process(self.pid).net_connections("tcp"):
                if held.status == psutil.CONN_LISTEN and held.laddr.port == port:
                    return True
        return False

    def output(self) -> str:
        """What this process has written to its log so far."""
        with self._log.open("rb") as file:
            file.seek(self._began)
            return file.read().decode("utf-8", "replace")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Return as soon as `ready` is true.

        When the process ends before that, or is not ready in time, stops it and raises Unavailable
        with the end of its log.
        """
        deadline = time.monotonic() + timeout_s
        try:
            while not ready():
                if not self.running:
                    raise self._failure(str(self.ended))
                if time.monotonic() > deadline:
                    raise self._failure(f"was not ready within {timeout_s:g} s")
                time.sleep(_CHECK_EVERY_S)
        except BaseException:
            self.stop(grace_s=0)
            raise

    def stop(self, grace_s: float = _GRACE_S) -> None:
        """Send SIGTERM, after `grace_s` SIGKILL, and wait until the process has ended."""
        if self.running and grace_s > 0:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        if self.running:
            self._process.kill()
        self._process.wait()

    def _failure(self, what: str) -> Unavailable:
        tail = "\n".join(self.output().splitlines()[-_TAIL_LINES:])
        return Unavailable(self._part, f"{what}; its log {self._log} ends with\n{tail}")


@contextlib.contextmanager
def children_apart() -> Iterator[None]:
    """Within it, each process that Python code forks leads a session of its own, as a `Child` does.

    For servers that a library starts by ``subprocess`` with a ``preexec_fn``: a signal to the group
    of this process (by ``timeout``, or Ctrl-C in a terminal) then does not reach them.
    """
    _APART.set()
    try:
        yield
    finally:
        _APART.clear()


def _after_fork() -> None:
    if _APART.is_set():
        os.setsid()


os.register_at_fork(after_in_child=_after_fork)


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
