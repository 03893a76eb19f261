"""The whole system as `freshrank run` starts it: in processes of its own, which can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.deploy.servers.external import ExternalServers
from freshrank.deploy.servers.processes.child import Child
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask
from freshrank.serve.api.responses import ReadyAnswer

# Seconds for a cold Ray with Serve to become ready on two busy cores.
START_TIMEOUT_S = 150.0
# Seconds from SIGTERM to SIGKILL.
STOP_TIMEOUT_S = 15.0
# Seconds for all processes to end after SIGKILL (at once, unless the machine is very busy), and
# between two checks.
KILL_TIMEOUT_S, KILL_POLL_S = 15.0, 0.05

_READY = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_STATE = "FRESHRANK_STATE"


class CoreTime(NamedTuple):
    """Seconds of the threads of some processes, by the kernel's scheduler."""

    ran_s: float
    waited_s: float
    """In which they could have run, and others had the cores."""


def core_time(processes: Iterable[int]) -> CoreTime:
    """The sum over the threads of `processes` that there are; 0 where the kernel does not count.

    >>> core_time([os.getpid()]).ran_s > 0.0
    True
    """
    ran_ns = waited_ns = 0
    for process in processes:
        for thread in Path(f"/proc/{process}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # it has ended
                ran, waited, _ = map(int, thread.read_bytes().split())
                ran_ns, waited_ns = ran_ns + ran, waited_ns + waited
    return CoreTime(ran_ns / 1e9, waited_ns / 1e9)


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """The processes of one system, found by the state folder in their environment."""

    port: int
    """Of the endpoint, on 127.0.0.1."""
    state: Path
    """The state folder: no other system on this machine has it in its environment."""

    def processes(self, title: str) -> list[int]:
        """Return the sorted ids of this system's processes whose command line contains `title`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
                ours = process.environ().get(_STATE) == str(self.state)
                if ours and title in " ".join(process.cmdline()):
                    found.append(process.pid)
        return sorted(found)

    def kill(self, title: str) -> None:
        """SIGKILL the first process with `title`, if there is one at this moment."""
        for process in self.processes(title)[:1]:
            kill_process(process)

    def memory_bytes(self) -> int:
        """Return the sum of the processes' proportional set sizes: a shared page counts once."""
        total = 0
        for process in self.processes(""):
            with contextlib.suppress(psutil.Error):  # the process has ended meanwhile
                total += psutil.Process(process).memory_full_info().pss
        return total


def is_ready(port: int) -> bool:
    """Return whether ``GET /readyz`` on a port of this machine answers 200."""
    return ask("127.0.0.1", port, _READY).startswith(b"HTTP/1.1 200")


def can_score(port: int) -> bool:
    """Return whether the replica on a port of this machine lacks nothing; no shard is asked for."""
    connection = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/readyz")
        answer = msgspec.json.decode(connection.getresponse().read(), type=ReadyAnswer)
    except (OSError, HTTPException, msgspec.DecodeError):  # not up yet, or only its proxy is
        return False
    finally:
        connection.close()
    return not answer.missing.keys() & {"replica", "model", "online_store"}


def kill_process(process: int) -> None:
    """SIGKILL `process`, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


class SystemProcess:
    """`freshrank run` on one port and one state folder, which can be started again and again.

    Parameters
    ----------
    file
        The pipeline file.
    folder
        For the state folder and the log.
    settings
        Environment variables (``FRESHRANK_...``) beside those of broker, Redis, port and state.
    """

    def __init__(
        self,
        outside: ExternalServers,
        file: Path,
        folder: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.system = RunningSystem(free_port(), folder / "state")
        self._command = [sys.executable, "-m", "freshrank.deploy.cli", "run", str(file)]
        self.log = folder / "system.log"
        """Standard output and error, of all starts."""
        self._environment = {
            "FRESHRANK_KAFKA__BOOTSTRAP": outside.broker.bootstrap,
            "FRESHRANK_REDIS__URL": outside.redis.url,
            "FRESHRANK_SERVE__PORT": str(self.system.port),
            _STATE: str(self.system.state),
            **(settings or {}),
        }
        self._child: Child | None = None

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises Unavailable with the end of its log when it is not ready in time.
        """
        self._child = Child("freshrank run", self._command, self.log, self._environment)
        self._child.wait_until(lambda: is_ready(self.system.port), START_TIMEOUT_S)

    @property
    def ended(self) -> str | None:
        """How it ended by itself; None while it runs."""
        return None if self._child is None else self._child.ended

    def kill(self) -> None:
        """SIGKILL all of its processes and wait until they have ended. Raises Unavailable."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while left := self.system.processes(""):
            if time.monotonic() > deadline:
                raise Unavailable("freshrank run", f"processes {left} do not end")
            for process in left:
                kill_process(process)
            time.sleep(KILL_POLL_S)
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL after `STOP_TIMEOUT_S`."""
        if self._child is not None:
            self._child.stop(grace_s=STOP_TIMEOUT_S)
        self._child = None


@contextlib.contextmanager
def running_system(
    outside: ExternalServers,
    file: Path,
    folder: Path,
    console: Console,
    settings: Mapping[str, str] | None = None,
) -> Iterator[RunningSystem]:
    """Run a `SystemProcess` within the block."""
    process = SystemProcess(outside, file, folder, settings)
    try:
        with console.status("starting the system"):
            process.start()
        yield process.system
    finally:
        process.stop()
