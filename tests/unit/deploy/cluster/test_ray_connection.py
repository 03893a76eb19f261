from __future__ import annotations

import pytest

from freshrank.actors.errors import Unavailable
from freshrank.deploy.cluster import ray_connection


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception, times: int = 99) -> list[str]:
    """Make the first `times` starts of Ray fail; gives the calls."""
    calls: list[str] = []

    def init(**options: object) -> None:
        calls.append("init")
        if calls.count("init") <= times:
            raise error

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.shutdown", lambda: calls.append("shutdown"))
    return calls


@pytest.mark.parametrize("kind", [Exception, RuntimeError, TimeoutError])
def test_a_ray_that_does_not_come_up_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/freshrank-x")
    error = kind("The current node timed out during startup.\nmore\nof it")
    calls = failing(monkeypatch, error)
    with pytest.raises(Unavailable) as caught:
        ray_connection.connect(None)
    assert str(caught.value) == (
        "ray: it did not come up in 3 tries (The current node timed out during startup). Start "
        "again when the machine is less busy; its logs: "
        "/tmp/freshrank-x/ray/session_latest/logs"
    )
    assert calls == ["init", "shutdown"] * 3, "nothing of a failed try is left"


def test_a_ray_that_is_slow_to_start_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = failing(monkeypatch, RuntimeError("timed out"), times=2)
    ray_connection.connect(None)
    assert calls == ["init", "shutdown", "init", "shutdown", "init"]


def test_a_mistake_of_ours_in_starting_ray_keeps_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = failing(monkeypatch, TypeError("no such option"))
    with pytest.raises(TypeError, match="no such option"):
        ray_connection.connect(None)
    assert calls == ["init"]
