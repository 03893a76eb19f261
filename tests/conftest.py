"""What holds for every test: only those in tests/integration may leave this process."""

from __future__ import annotations

import gc
import inspect
import os
import socket
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

collect_ignore = ["support"]

# Read when NumPy and torch are loaded, which no plugin of pytest does. The arrays of tests are
# small: a second thread would wait for work in a loop, on a core that another process has use for.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# What is imported and collected stays until the end: the collector of garbage looks at none of it,
# neither while it becomes more nor in the tests (`pytest_runtestloop`).
gc.disable()

# The first call of a kernel compiles it, and a busy machine is slow: time decides no test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def refuse(what: str) -> Callable[..., NoReturn]:
    def refused(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail(f"{what} in a test outside tests/integration")

    return refused


def sleep_of_others(seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Sleep for those who wait for a child process; refuse everybody else."""
    this = inspect.currentframe()
    caller = this and this.f_back
    if caller is None or caller.f_globals["__name__"] != "subprocess":
        pytest.fail("time.sleep in a test outside tests/integration")
    sleep(seconds)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def stay_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects, listens, starts Ray or sleeps, unless it is an integration test.

    Event loops make socket pairs without connecting them, so they go on working.
    """
    if request.path.is_relative_to(ROOT / "tests" / "integration"):
        return
    for method in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse(f"socket.{method}"))
    monkeypatch.setattr(time, "sleep", sleep_of_others)
    if "ray" in sys.modules:
        monkeypatch.setattr("ray.init", refuse("ray.init"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, object, object]:
    """Run what only repeats lines without coverage, which more than doubles its time."""
    part = item.callspec.params.get("part") if hasattr(item, "callspec") else None
    if item.get_closest_marker("repeats") is None or part == 0:
        return (yield)
    measuring = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(measuring)
