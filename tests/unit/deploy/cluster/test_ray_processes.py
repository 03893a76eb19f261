from collections.abc import Callable

import psutil
import pytest

from freshrank.deploy.cluster.ray_processes import RayProcesses, end_when_blocked, kill_left


class Ended(RayProcesses):
    """Processes of which one has ended."""

    def __init__(self) -> None:
        self.looks = 0

    @property
    def ended(self) -> str | None:
        self.looks += 1
        return "its process gcs_server has ended"


class Loop:
    """A loop that answers the first calls, and then is blocked or closed."""

    def __init__(self, answers: int, *, closed: bool) -> None:
        self._answers, self._closed = answers, closed

    def call_soon_threadsafe(self, callback: Callable[[], object], *_: object) -> None:
        self._answers -= 1
        if self._answers >= 0:
            callback()
        elif self._closed:
            raise RuntimeError("Event loop is closed")


class Left(psutil.Process):
    """A process that is left."""

    def __init__(self, pid: int) -> None:
        self._pid, self.killed = pid, False

    @property
    def pid(self) -> int:
        return self._pid

    def kill(self) -> None:
        self.killed = True


def no_sleep(_: float) -> None:
    """Take no time."""


@pytest.mark.parametrize("answers", [0, 1])
def test_a_run_whose_loop_is_blocked_ends_with_the_reason(answers: int) -> None:
    reasons: list[str] = []
    end_when_blocked(Ended(), Loop(answers, closed=False), reasons.append, 0.0, no_sleep)
    (reason,) = reasons
    assert reason.startswith("ray: its process gcs_server has ended")


def test_a_loop_that_has_done_its_work_is_left_alone() -> None:
    reasons: list[str] = []
    end_when_blocked(Ended(), Loop(1, closed=True), reasons.append, 0.0, no_sleep)
    assert reasons == []


def test_what_one_look_misses_is_killed_by_a_later_look() -> None:
    first, second = Left(1), Left(2)
    looks = iter([[first], [], [second], [], [], []])
    assert kill_left(lambda: next(looks), no_sleep) == 2
    assert first.killed and second.killed
    assert next(looks, None) is None
