from __future__ import annotations

import pytest

from freshrank.actors.errors import Unavailable
from freshrank.deploy.cluster import ray_connection


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr("ray.init", init)


@pytest.mark.parametrize("kind", [Exception, RuntimeError, TimeoutError])
def test_a_ray_that_does_not_come_up_is_one_line_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/freshrank-x")
    failing(monkeypatch, kind("The current node timed out during startup.\nmore\nof it"))
    with pytest.raises(Unavailable) as caught:
        ray_connection.connect(None)
    assert str(caught.value) == (
        "ray: it did not come up (The current node timed out during startup). Start again when "
        "the machine is less busy; its logs: /tmp/freshrank-x/ray/session_latest/logs"
    )


def test_a_mistake_of_ours_in_starting_ray_keeps_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, TypeError("no such option"))
    with pytest.raises(TypeError, match="no such option"):
        ray_connection.connect(None)
