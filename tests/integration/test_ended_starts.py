"""Starts of a run that end before it is up: what the console says, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from mistakes import RIGHT
from whole_system import PATIENCE_S, START_S, has_title, until

# Fails where Ray Serve runs it, in the process of a replica.
FAILS_IN_REPLICAS = """
with open("/proc/self/cmdline") as file:
    if file.read().startswith("ray::ServeReplica"):
        raise LookupError("there is no such table")
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Runs a pipeline of this text, with servers of its own."""
    runs = list[subprocess.Popen[str]]()

    def launch(text: str) -> subprocess.Popen[str]:
        (tmp_path / "pipeline.py").write_text(text)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        runs.append(
            subprocess.Popen(
                [sys.executable, "-m", "freshrank.deploy.cli", "run", "pipeline.py"],
                cwd=tmp_path, env=ours | {"FRESHRANK_SERVE__PORT": "0"}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
        return runs[-1]

    yield launch
    for run in runs:
        run.kill()
        run.communicate()


def descendants(run: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(run.pid).children(recursive=True)


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_keeps_replicas_from_starting_is_the_last_line_of_a_run(
    launch: Callable[[str], subprocess.Popen[str]],
) -> None:
    run = launch(RIGHT + FAILS_IN_REPLICAS)
    said, _ = run.communicate(timeout=START_S)
    line = f"pipeline.py:{(RIGHT + FAILS_IN_REPLICAS).count(chr(10))}"
    assert said.splitlines()[-1] == (
        f"error: {line}: LookupError: there is no such table. Correct that line."
    ), said
    assert run.returncode == 2


def has_agents(run: subprocess.Popen[str]) -> bool:
    """They write their titles over the environment by which processes of a run are known."""
    return any(has_title(one, "ray::DashboardAgent") for one in descendants(run))


def connects(run: subprocess.Popen[str]) -> bool:
    """Whether the core of Ray has begun in the process of the run, with handlers of its own."""
    tasks = Path(f"/proc/{run.pid}/task").glob("*/comm")
    return any(comm.read_text() == "worker.io\n" for comm in tasks)


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, has_agents), (signal.SIGTERM, connects)]
)
def test_no_process_is_left_of_a_start_that_is_interrupted_while_ray_comes_up(
    launch: Callable[[str], subprocess.Popen[str]],
    number: signal.Signals,
    moment: Callable[[subprocess.Popen[str]], bool],
) -> None:
    run = launch(RIGHT)
    until(lambda: moment(run), START_S)
    started = descendants(run)
    run.send_signal(number)
    said, _ = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 0, said
    assert [one for one in started if runs(one)] == []
    assert "Traceback" not in said
    assert "SIGTERM received" not in said
