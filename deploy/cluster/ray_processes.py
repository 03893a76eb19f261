"""The processes of a Ray that this process has started: which may not end, and what is left."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from freshrank.actors.errors import DependencyLost

# The programs without which Ray replaces no process: the node manager, and the store of what the
# cluster consists of. Neither can be started again beside the processes that it has lost.
_NEEDED = ("raylet", "gcs_server")

# In the arguments of all that Ray starts: the folder of its session.
_SESSION = "/ray/session_"

# Begins the titles that processes of Ray give themselves. Some write them over their environment,
# and the mark in it: the two agents of a node manager do, which live on for a minute without it.
_TITLE = "ray::"

# The option of prctl(2) by which a process becomes the parent of its orphaned descendants.
_PR_SET_CHILD_SUBREAPER = 36

# Names the run in the environment of all of its processes; no setting, hence without their prefix.
RUN_ID = "_FRESHRANK_RUN"

# Seconds for killed processes to be gone, and between two looks for more: a process that was just
# starting others may leave some behind.
_KILL_TIMEOUT_S, _KILL_POLL_S = 2.0, 0.05

# Looks in a row that find no process before none is left: a look misses a process whose parent ends
# at that moment.
_LOOKS_WITHOUT = 3

# Seconds between two looks whether a needed process has ended, and for which an event loop may be
# silent then.
_ENDED_POLL_S, _BLOCKED_S = 0.5, 5.0

# Seconds between two looks for adopted processes that have ended: a look takes milliseconds.
_REAP_POLL_S = 5.0


class RayProcesses:
    """The needed processes among the children of this process; to be made after Ray has started."""

    def __init__(self) -> None:
        # The newest of a name: those of a try that did not come up may still be ending.
        children = sorted(psutil.Process().children(), key=psutil.Process.create_time)
        self._needed = {name: child for child in children if (name := _program(child)) in _NEEDED}

    @property
    def ended(self) -> str | None:
        """Which of them has ended; None while all run."""
        lost = [name for name, process in self._needed.items() if not _runs(process)]
        return f"its process {lost[0]} has ended" if lost else None

    @property
    def lost(self) -> str:
        """The message for the user when a needed process has ended."""
        return (
            f"ray: {self.ended}, and without it no process of the run can be replaced. Start "
            "again: the run continues from its state."
        )

    def start_again(self) -> None:
        """Raise DependencyLost: a new process would not know what belonged to the old."""
        raise DependencyLost(self.lost)

    def forget(self) -> None:
        """Watch none of them any longer: Ray is about to be left."""
        self._needed = {}


class Answering(Protocol):
    """What is asked of an event loop here."""

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> object:
        """Have it call `callback`. Raises RuntimeError when it is closed."""
        ...


def end_when_blocked(
    processes: RayProcesses,
    loop: Answering,
    end: Callable[[str], object],
    blocked_s: float = _BLOCKED_S,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Wait until one of `processes` has ended, and `loop` does not answer for `blocked_s`. Blocks.

    Then calls `end` with the reason. A call of Ray that creates an actor blocks the event loop for
    a minute where Ray's store is gone, so the loop itself cannot see to it. Returns without that
    where the loop is closed.
    """
    while True:
        if processes.ended is not None:
            answered = threading.Event()
            try:
                loop.call_soon_threadsafe(answered.set)
            except RuntimeError:  # it is closed
                return
            if not answered.wait(blocked_s) and processes.ended is not None:
                end(processes.lost)
                return
        sleep(_ENDED_POLL_S)


def mark_run() -> None:
    """Mark this process and all that it will start, so that `kill_left` finds them."""
    os.environ[RUN_ID] = secrets.token_hex(16)


def adopt_orphans() -> None:
    """Become the parent of what Ray's processes leave behind, so that `kill_left` finds that.

    `reap_forever` has to be started, too.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans() -> None:
    """Reap the adopted processes that have ended.

    Their session is that of the node manager: what this process has started itself is in its own
    session or leads another, and its exit status is for the caller that started it.
    """
    own = os.getsid(0)
    for child in psutil.Process().children():
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # it is reaped already
            if os.getsid(child.pid) not in (own, child.pid):
                os.waitpid(child.pid, os.WNOHANG)


def reap_forever() -> None:
    """Reap orphans as they end, until this process does. Blocks."""
    while True:
        reap_orphans()
        time.sleep(_REAP_POLL_S)


def kill_unfinished() -> None:
    """SIGKILL what this process has started of a Ray that did not come up: Ray leaves it."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # it has just ended
            if any(_SESSION in argument for argument in child.cmdline()):
                child.kill()


def left_of_run() -> list[psutil.Process]:
    """What `mark_run` has marked, and what else of Ray has come from this process."""
    return [*_marked(), *_titled()]


def kill_left(
    find: Callable[[], Sequence[psutil.Process]] = left_of_run,
    sleep: Callable[[float], object] = time.sleep,
) -> int:
    """SIGKILL what `find` finds, until it finds no more. Returns how many were left. Blocks.

    Ray ends its own processes; those of a Ray whose node manager was killed live on without it.
    """
    found: set[int] = set()
    deadline, looks = time.monotonic() + _KILL_TIMEOUT_S, _LOOKS_WITHOUT
    while looks > 0 and time.monotonic() < deadline:
        left = find()
        looks = _LOOKS_WITHOUT if left else looks - 1
        for process in left:
            with contextlib.suppress(psutil.Error):  # it has just ended
                process.kill()
            found.add(process.pid)
        sleep(_KILL_POLL_S)
    return len(found)


def _marked() -> list[psutil.Process]:
    run = os.environ.get(RUN_ID)
    if run is None:
        return []
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
            ours = process.pid != os.getpid() and process.environ().get(RUN_ID) == run
            if ours and _runs(process):
                found.append(process)
    return found


def _titled() -> list[psutil.Process]:
    """The descendants of this process with a title of Ray's."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if _runs(process) and _program(process).startswith(_TITLE)
    ]


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _program(process: psutil.Process) -> str:
    try:
        return Path((process.cmdline() or [""])[0]).name
    except psutil.Error:
        return ""
