"""A real HAProxy, started as by Ray, is killed by the kernel when its parent is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from haproxy import haproxy_starter
from sockets import open_sockets
from whole_system import until

from freshrank.deploy.servers.processes.ports import free_port

# Seconds for the kernel to kill it: milliseconds on an idle machine.
SOON_S = 5.0

# Starts HAProxy as Ray does: from another thread than the main one, and for a new configuration a
# second one that replaces the first. Prints the process ids, then waits to be killed.
PARENT = """
import subprocess, sys, threading, time
starter, times = sys.argv[1], int(sys.argv[2])
command = [starter, "-db", "-f", sys.argv[3]]

def start():
    last = []
    for _ in range(times):
        sys.stdin.readline()
        last = [str(subprocess.Popen(command + (["-sf", *last] if last else [])).pid)]
        print(last[0], flush=True)
    time.sleep(600)

threading.Thread(target=start).start()
"""

# Ray's sections. A silent client keeps its connection for longer than the test takes.
CONFIGURATION = """\
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 5s
frontend prometheus
    bind :{metrics}
frontend http_frontend
    bind 127.0.0.1:{port}
    default_backend default_backend
backend default_backend
    http-request return status 404
listen stats
    bind *:{stats}
"""


class Started:
    """A parent process that starts HAProxy on demand, at most `times`."""

    def __init__(self, folder: Path, times: int) -> None:
        self.port = free_port()
        file = folder / "haproxy.cfg"
        ports = {"metrics": free_port(), "stats": free_port(), "port": self.port}
        file.write_text(CONFIGURATION.format(**ports), encoding="utf-8")
        starter = haproxy_starter(folder)
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, starter, str(times), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(self) -> int:
        """Let it start a HAProxy; returns the process id, whether that still runs or not."""
        assert self.parent.stdin is not None and self.parent.stdout is not None
        self.parent.stdin.write("\n")
        self.parent.stdin.flush()
        return int(self.parent.stdout.readline())

    def next(self) -> int:
        """Let it start a HAProxy; returns the process id once HAProxy listens."""
        process = self.fork()
        until(lambda: self.port in {one.port for one in open_sockets([process])})
        return process

    def kill(self) -> None:
        """SIGKILL the parent."""
        with self.parent:  # closes the pipes, waits
            self.parent.kill()


def lives(process: int) -> bool:
    """Whether the process runs, as HAProxy or still as its wrapper."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return stat.rpartition(") ")[2][0] != "Z"


@pytest.fixture
def left() -> Iterator[list[int]]:
    """Processes that are killed after the test, if they still run."""
    processes: list[int] = []
    yield processes
    for one in filter(lives, processes):
        os.kill(one, signal.SIGKILL)


def test_haproxy_is_killed_with_its_parent(tmp_path: Path, left: list[int]) -> None:
    started = Started(tmp_path, 1)
    left.append(started.next())
    started.kill()
    until(lambda: not lives(left[0]), SOON_S)


def test_a_draining_haproxy_and_its_successor_are_killed_with_their_parent(
    tmp_path: Path, left: list[int]
) -> None:
    started = Started(tmp_path, 2)
    with ExitStack() as stack:
        stack.callback(started.kill)
        left.append(started.next())
        client = stack.enter_context(socket.create_connection(("127.0.0.1", started.port)))
        client.sendall(b"GET / HTTP/1.1\r\n")  # and no more: it is kept
        left.append(started.next())
        assert all(map(lives, left))
    until(lambda: not any(map(lives, left)), SOON_S)


def test_no_haproxy_is_left_whenever_its_parent_is_killed(tmp_path: Path, left: list[int]) -> None:
    for tenths in range(0, 150, 3):  # the wrapper becomes HAProxy within about 15 ms
        started = Started(tmp_path, 1)
        left.append(started.fork())
        time.sleep(tenths / 10_000)
        started.kill()
    until(lambda: not any(map(lives, left)), SOON_S)


def test_haproxy_is_not_started_for_a_parent_that_has_ended(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    ports = {"metrics": free_port(), "stats": free_port(), "port": free_port()}
    file.write_text(CONFIGURATION.format(**ports), encoding="utf-8")
    starter = haproxy_starter(tmp_path)
    # Its parent is the shell: another program than Python, as the parent of an orphan is.
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", starter, "-db", "-f", str(file)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 1
    assert "its parent process has ended" in done.stderr
