"""What holds for every test: only those in tests/integration may leave this process."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# The first call of a kernel compiles it, and a busy machine is slow: time decides no test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# Read by Ray when it is imported, hence set before any test module is.
os.environ.update(
    RAY_AUTH_MODE="disabled",  # else it writes a token into the home folder
    RAY_USAGE_STATS_ENABLED="0",
    # A reference inside an argument would pin its object for ever: raise instead.
    RAY_allow_out_of_band_object_ref_serialization="0",
    # What a test defines is looked up by actors under its own module name.
    PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support")]),
)


def refuse(what: str) -> Callable[..., NoReturn]:
    def refused(*args: object, **kwargs: object) -> NoReturn:
        pytest.fail(f"{what} in a test outside tests/integration")

    return refused


@pytest.fixture(autouse=True)
def stay_in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that connects, listens, starts Ray or sleeps, unless it is an integration test.

    Event loops make socket pairs without connecting them, so they go on working.
    """
    if request.path.is_relative_to(ROOT / "tests" / "integration"):
        return
    for method in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, method, refuse(f"socket.{method}"))
    monkeypatch.setattr(time, "sleep", refuse("time.sleep"))
    if "ray" in sys.modules:
        monkeypatch.setattr("ray.init", refuse("ray.init"))
