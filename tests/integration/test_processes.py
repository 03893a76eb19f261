"""Child processes: waited for, stopped, and gone when their parent is, however it went."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from freshrank.actors.errors import Unavailable
from freshrank.deploy.servers.processes.child import Child, children_apart
from freshrank.deploy.servers.processes.ports import free_port
from freshrank.deploy.servers.processes.probing import ask, listens

SLEEP = [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True); time.sleep(60)",
]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie that nobody has waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def started(command: list[str], folder: Path) -> Child:
    child = Child("sleeper", command, folder / "log")
    child.wait_until(lambda: "up" in child.output(), timeout_s=20)
    return child


def test_a_child_gets_sigterm_and_then_sigkill(tmp_path: Path) -> None:
    for command, grace_s in ((SLEEP, 20.0), (STUBBORN, 0.2)):
        child = started(command, tmp_path)
        assert alive(child.pid)
        begin = time.monotonic()
        child.stop(grace_s)
        assert time.monotonic() - begin < 10
        assert not alive(child.pid)
        assert not child.running
        assert child.ended == f"killed by {'SIGTERM' if command is SLEEP else 'SIGKILL'}"
        child.stop()


def test_a_child_that_ends_at_once_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("of an earlier run\n")
    child = Child(
        "sleeper", [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"], tmp_path / "log"
    )
    with pytest.raises(Unavailable, match=r"sleeper: ended with status 3(.|\n)*no disk") as caught:
        child.wait_until(lambda: False, timeout_s=20)
    assert "earlier" not in str(caught.value)


def test_a_child_that_listens_is_told_from_another_program(tmp_path: Path) -> None:
    serve = (
        "import socket, time\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print('up', server.getsockname()[1], flush=True); time.sleep(60)"
    )
    child = started([sys.executable, "-c", serve], tmp_path)
    port = int(child.output().split()[1])
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert child.listens_at(port)
        assert not child.listens_at(other.getsockname()[1])
    child.stop()
    assert not child.listens_at(port)


def test_a_child_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    child = Child("sleeper", SLEEP, tmp_path / "log")
    with pytest.raises(Unavailable, match=r"was not ready within 0\.1 s"):
        child.wait_until(lambda: False, timeout_s=0.1)
    assert not alive(child.pid)


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    children: list[Child] = []
    thread = threading.Thread(target=lambda: children.append(started(SLEEP, tmp_path)))
    thread.start()
    thread.join()
    (child,) = children
    # The kernel would have killed it by the time that a second child is up.
    started(SLEEP, tmp_path).stop()
    assert child.running
    child.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_child_is_gone_when_its_parent_was_killed(how: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import signal, sys, time; from pathlib import Path\n"
        # Ignored from the start where a shell has started the tests in the background.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from freshrank.deploy.servers.processes.child import Child\n"
        f"child = Child('sleeper', {STUBBORN!r}, Path(sys.argv[1]))\n"
        "child.wait_until(lambda: 'up' in child.output(), 20)\n"
        "print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, how)
        parent.wait(60)
    wait_gone(pid)


def test_what_a_run_has_marked_is_killed_at_its_end_and_nothing_else() -> None:
    program = (
        "import subprocess, sys\n"
        "from freshrank.deploy.cluster.ray_processes import kill_left, mark_run\n"
        "other = subprocess.Popen(sys.argv[1:])\n"
        "mark_run()\n"
        # An orphan in a session of its own: what Ray's workers are without their node manager.
        "orphan = subprocess.run([sys.executable, '-c', 'import subprocess, sys;'\n"
        "    'print(subprocess.Popen(sys.argv[1:], stdout=-3, stderr=-3,'\n"
        "    'start_new_session=True).pid)', *sys.argv[1:]], capture_output=True, text=True)\n"
        "print(orphan.stdout.strip(), other.pid, kill_left(), flush=True)\n"
        "print(other.poll(), flush=True)\n"
        "other.kill()\n"
    )
    command = [sys.executable, "-c", program, *SLEEP]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    numbers, still_runs = (line for line in done.stdout.splitlines() if line != "up")
    orphan, _, killed = (int(number) for number in numbers.split())
    assert (killed, still_runs) == (1, "None")
    wait_gone(orphan)


def test_what_a_ray_that_did_not_come_up_has_left_is_killed_and_nothing_else() -> None:
    # In a process of its own: the Ray that other tests share is a child of this one.
    program = (
        "import subprocess, sys\n"
        "from freshrank.deploy.cluster.ray_processes import kill_unfinished\n"
        "left = subprocess.Popen([*sys.argv[1:], '/tmp/ray/session_2026/logs'])\n"
        "other = subprocess.Popen(sys.argv[1:])\n"
        "kill_unfinished()\n"
        "print(left.wait(10), other.poll(), flush=True)\n"
        "other.kill()\n"
    )
    command = [sys.executable, "-c", program, *SLEEP]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert [line for line in done.stdout.splitlines() if line != "up"] == ["-9 None"]


def test_what_python_code_forks_apart_leads_a_session_of_its_own() -> None:
    def session() -> int:
        # As Ray starts its servers.
        with subprocess.Popen(SLEEP, preexec_fn=lambda: None) as server:  # noqa: PLW1509
            found = os.getsid(server.pid) - server.pid
            server.kill()
        return found

    assert session() != 0
    with children_apart():
        assert session() == 0
    assert session() != 0


def test_nothing_listens_on_a_free_port() -> None:
    port = free_port()
    assert not listens("127.0.0.1", port)
    first_of_clients = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    assert port < int(first_of_clients), "a client could take it before a server listens"
    assert ask("127.0.0.1", port, b"PING\r\n") == b""


# Adopts what a leader of another session leaves behind, while two children that it has started
# itself end, and nobody has asked for their exit status yet.
REAPS = """
import subprocess, time
import psutil
from freshrank.deploy.cluster import ray_processes

ray_processes.adopt_orphans()
leader = subprocess.Popen(["sh", "-c", "true & echo $!; exit 7"], stdout=subprocess.PIPE,
    start_new_session=True)
plain = subprocess.Popen(["sh", "-c", "exit 5"])
orphan = int(leader.stdout.readline())

def left():
    children = psutil.Process().children()
    return {one.pid: one.status() == psutil.STATUS_ZOMBIE for one in children}

deadline = time.monotonic() + 100
while left() != {leader.pid: True, plain.pid: True} and time.monotonic() < deadline:
    ray_processes.reap_orphans()
    time.sleep(0.02)
print(orphan not in left(), leader.wait(), plain.wait())
"""


def test_orphans_that_were_adopted_are_reaped_and_children_of_ones_own_are_not() -> None:
    command = [sys.executable, "-c", REAPS]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert said.stdout.split() == ["True", "7", "5"]
