"""The whole system as `freshrank run` starts it, in processes of its own that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from freshrank.actors.errors import Unavailable
from freshrank.deploy.servers.external import Outside
from freshrank.deploy.servers.processes import Child, ask, free_port

# A cold Ray with Serve on two busy cores.
START_TIMEOUT_S = 150.0
STOP_TIMEOUT_S = 15.0
# What is killed ends at once, unless the machine is very busy; and between two looks for it.
KILL_TIMEOUT_S, LOOK_S = 15.0, 0.05

_READY = b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
_STATE = "FRESHRANK_STATE"


@dataclass(frozen=True, slots=True)
class LiveSystem:
    """Where a running system is."""

    port: int
    """Of the endpoint, on 127.0.0.1."""
    state: Path
    """The state folder: no other system on this machine has it in its environment."""

    def processes(self, title: str) -> list[int]:
        """Ids of this system's processes whose command line holds `title`."""
        mark = f"{_STATE}={self.state}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                ours = mark in (entry / "environ").read_bytes().split(b"\0")
                if ours and title.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue  # it has ended meanwhile
        return sorted(found)

    def kill(self, title: str) -> None:
        """SIGKILL the first process of that title, if there is one at this moment."""
        for process in self.processes(title)[:1]:
            end(process)

    def memory_bytes(self) -> int:
        """What all its processes hold in RAM; a page that several share counts once in all."""
        total = 0
        for process in self.processes(""):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
                kilobytes = next(line for line in text.splitlines() if line.startswith("Pss:"))
                total += int(kilobytes.split()[1]) * 1024
        return total


def is_ready(port: int) -> bool:
    """Whether an endpoint of this machine says that it is."""
    return ask("127.0.0.1", port, _READY).startswith(b"HTTP/1.1 200")


async def until_calm(waiting: Callable[[], Awaitable[int]], patience_s: float) -> None:
    """Come back when nothing waits, twice in a row: figures are posted each second.

    Raises Unavailable when something still does after `patience_s`.
    """
    deadline, calm = time.monotonic() + patience_s, 0
    while calm < 2:
        if time.monotonic() > deadline:
            raise Unavailable("the system", f"still busy after {patience_s} s")
        await asyncio.sleep(2.0)
        calm = calm + 1 if await waiting() == 0 else 0


def end(process: int) -> None:
    """SIGKILL, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


class Application:
    """`freshrank run` as its user starts it: on one port and one state folder, however often.

    `settings` are environment variables.
    """

    def __init__(
        self,
        outside: Outside,
        file: Path,
        folder: Path,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.system = LiveSystem(free_port(), folder / "state")
        self._command = [sys.executable, "-m", "freshrank.deploy.cli", "run", str(file)]
        self.log = folder / "system.log"
        """What it prints."""
        self._environment = {
            "FRESHRANK_KAFKA__BOOTSTRAP": outside.broker.bootstrap,
            "FRESHRANK_REDIS__URL": outside.redis.url,
            "FRESHRANK_SERVE__PORT": str(self.system.port),
            _STATE: str(self.system.state),
            **(settings or {}),
        }
        self._child: Child | None = None

    def start(self) -> None:
        """Come back when it is ready. Raises Unavailable with the end of its log when it is not."""
        self._child = Child("freshrank run", self._command, self.log, self._environment)
        self._child.wait_until(lambda: is_ready(self.system.port), START_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL every process of it, and come back when there is none."""
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while left := self.system.processes(""):
            if time.monotonic() > deadline:
                raise Unavailable("freshrank run", f"processes {left} do not end")
            for process in left:
                end(process)
            time.sleep(LOOK_S)
        self.stop()

    def stop(self) -> None:
        """Ask it to end, and see to it that it does."""
        if self._child is not None:
            self._child.stop(grace_s=STOP_TIMEOUT_S)
        self._child = None


@contextlib.contextmanager
def running(
    outside: Outside,
    file: Path,
    folder: Path,
    console: Console,
    settings: Mapping[str, str] | None = None,
) -> Iterator[LiveSystem]:
    """Run the pipeline of `file` until the end of the block; see `Application`."""
    application = Application(outside, file, folder, settings)
    try:
        with console.status("starting the system"):
            application.start()
        yield application.system
    finally:
        application.stop()
