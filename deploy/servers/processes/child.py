"""Child processes: started, awaited, stopped, and killed when this process ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from freshrank.actors.errors import Unavailable
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

# Seconds between two checks of a server that is starting; the fastest starts in 0.1 s.
_CHECK_EVERY_S = 0.02

# Seconds that a server may take to end after SIGTERM; the whole system has ten.
_GRACE_S = 5.0

# The last lines of its log that the message quotes when a server does not start.
_TAIL_LINES = 15


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
